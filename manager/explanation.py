"""Why requests are batched or not: what workers say of the versions they hold, beside what was counted of their batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from manager.batch_figures import BatchFigures
from manager.request_figures import Rows
from manager.serving import Served, Serving
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import ServingError
from ringserve.servable import ServableId

#: A worker's entries for the forms of a version, or why there are none.
_Told = list[Message] | ServingError


class Explanation:
    """Asks and adds up when asked. All on the supervisor's event loop; what it returns is JSON-able."""

    def __init__(self, serving: Serving, monitor: ServableStateMonitor, count: Callable[[], Rows]) -> None:
        """`count` returns the rows of `RequestFigures`."""
        self._serving = serving
        self._monitor = monitor
        self._count = count

    async def model(self, name: str, seconds: float) -> Message:
        """Its loaded versions, highest first; workers have `seconds` to answer."""
        return await self._model(name, BatchFigures(self._count()), seconds)

    async def models(self, seconds: float) -> dict[str, Message]:
        """All that have a loaded version, likewise, by name."""
        figures, names = BatchFigures(self._count()), list(self._monitor.names)
        found = await asyncio.gather(*(self._model(name, figures, seconds) for name in names))
        return {name: model for name, model in zip(names, found, strict=True) if model["versions"]}

    async def _model(self, name: str, figures: BatchFigures, seconds: float) -> Message:
        loaded = [(event.id, self._serving.served(event.id)) for event in self._monitor.versions(name)]
        versions = (self._version(servable, served, figures, seconds) for servable, served in loaded if served)
        return {"model": name, "versions": await asyncio.gather(*versions)}

    async def _version(self, servable: ServableId, served: Served, figures: BatchFigures, seconds: float) -> Message:
        answers = await asyncio.gather(*(_ask(worker, servable, seconds) for worker in served.workers))
        told = {worker.device: answer for worker, answer in zip(served.workers, answers, strict=True)}
        return {
            "version": servable.version,
            "troubles": {device: answer.message for device, answer in told.items() if isinstance(answer, ServingError)},
            "signatures": [_signature(servable, wire[0], told, figures) for wire in served.message["signatures"]],
        }


async def _ask(worker: WorkerProcess, servable: ServableId, seconds: float) -> _Told:
    try:
        return await worker.explain(servable, seconds)
    except ServingError as error:
        return error


def _signature(servable: ServableId, name: str, told: Mapping[str, _Told], figures: BatchFigures) -> Message:
    model, version = servable
    devices = [
        {"device": device, "forms": _forms(name, answer), **figures.of_device(model, version, name, device)}
        for device, answer in told.items()
    ]
    return {"signature": name, **figures.of_signature(model, version, name), "devices": devices}


def _forms(signature: str, answer: _Told) -> list[Message]:
    entries = () if isinstance(answer, ServingError) else answer
    return [
        {name: value for name, value in entry.items() if name != "signature"}
        for entry in entries
        if entry["signature"] == signature
    ]
