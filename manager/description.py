"""The state of the whole server, for people and for metrics: JSON-able."""

from __future__ import annotations

from manager.aspired_versions_manager import AspiredVersionsManager
from manager.child_process import ChildProcess
from manager.event_bus import EventBus, ServableState
from manager.memory_budget import MemoryBudget
from manager.model_config import ModelConfig
from manager.server_core import ServerCore
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.servable import ServableId, State


class LoadHistory:
    """What is known of versions' loads, beside their states: how many went well, how long the last ones took."""

    def __init__(self, bus: EventBus, monitor: ServableStateMonitor) -> None:
        self._monitor = monitor
        self.counts: dict[tuple[str, str], int] = {}  # by model and "ok" or "failed"
        self.seconds: dict[ServableId, float] = {}
        self._began: dict[ServableId, int] = {}
        bus.subscribe(self._note)
        monitor.on_forget(self._forget)

    def _forget(self, name: str, _: list[int]) -> None:
        if not self._monitor.versions(name):
            for result in ("ok", "failed"):
                self.counts.pop((name, result), None)

    def _note(self, event: ServableState) -> None:
        if event.state is State.LOADING:
            self._began[event.id] = event.time_ns
            return
        began = self._began.pop(event.id, None)
        if event.state is State.AVAILABLE and began is not None:
            self.seconds[event.id] = (event.time_ns - began) / 1e9
            self._count(event, "ok")
        elif event.state is State.END:
            self.seconds.pop(event.id, None)
            if began is not None:
                self._count(event, "failed")

    def _count(self, event: ServableState, result: str) -> None:
        key = (event.id.name, result)
        self.counts[key] = self.counts.get(key, 0) + 1


class Description:
    """Reads everything where it is kept, when asked."""

    def __init__(
        self,
        core: ServerCore,
        manager: AspiredVersionsManager,
        monitor: ServableStateMonitor,
        serving: Serving,
        budget: MemoryBudget,
        history: LoadHistory,
        workers: list[WorkerProcess],
    ) -> None:
        self._core = core
        self._manager = manager
        self._monitor = monitor
        self._serving = serving
        self._budget = budget
        self._history = history
        self._workers = workers

    def describe(self) -> Message:
        """Models with their versions, processes, memory. What was asked to be served comes first, then what once was."""
        models = [self._model(model) for model in self._core.models.values()]
        gone = [name for name in self._monitor.names if name not in self._core.models]
        return {
            "models": models + [self._removed(name) for name in gone],
            "workers": [{"device": worker.device, **_process(worker)} for worker in self._workers],
            "frontends": [_process(frontend) for frontend in self._serving.frontends],
            "memory": {"limit_bytes": self._budget.limit, "reserved_bytes": self._budget.reserved},
            "loads": [{"model": model, "result": r, "count": n} for (model, r), n in self._history.counts.items()],
            "reloads": dict(self._core.reloads),
        }

    def _model(self, model: ModelConfig) -> Message:
        trouble = self._monitor.source_error(model.name)
        return {
            "name": model.name,
            "base_path": model.base_path,
            "platform": model.platform,
            "policy": str(model.policy),
            "source": model.source,
            "devices": list(model.devices) or [worker.device for worker in self._workers],
            "labels": {label: [list(share) for share in shares] for label, shares in model.routing.items()},
            "shadows": [[version, rate, self._shadow_counts(model.name, version)] for version, rate in model.shadows],
            "trouble": trouble.message if trouble else None,
            "versions": [self._version(event) for event in self._monitor.versions(model.name)],
        }

    def _removed(self, name: str) -> Message:
        empty: Message = {"base_path": "", "platform": "", "policy": "", "source": "", "devices": [], "labels": {}}
        versions = [self._version(event) for event in self._monitor.versions(name)]
        return {"name": name, **empty, "shadows": [], "trouble": "not configured any more", "versions": versions}

    def _version(self, event: ServableState) -> Message:
        served = self._serving.served(event.id)
        return {
            "version": event.id.version,
            "state": event.state.name,
            "aspired": self._manager.aspires(event.id),
            "error_code": event.error.code.name if event.error else "OK",
            "error_message": event.error.message if event.error else "",
            "since": event.time_ns / 1e9,
            "workers": {worker.device: worker.holds(event.id) for worker in served.workers} if served else {},
            "estimate_bytes": self._budget.share(event.id),
            "load_seconds": self._history.seconds.get(event.id),
            "warm_up": served.warm_up if served else None,
        }

    def _shadow_counts(self, model: str, version: int) -> Message:
        counts = {"compared": 0, "differed": 0, "failed": 0, "dropped": 0}
        for frontend in self._serving.frontends:
            for name, count in frontend.shadow_counts.get((model, version), {}).items():
                counts[name] += count
        return counts


def _process(process: ChildProcess) -> Message:
    return {
        "title": process.title,
        "pid": process.pid,
        "state": process.state,
        "restarts": process.restarts,
        "rss_bytes": process.resident_bytes,
    }
