"""A server that can be looked at and changed, without processes: versions come and go at once, or as a test says."""

from __future__ import annotations

import asyncio
from typing import Any

from manager.config_file import ConfigFile
from manager.config_messages import ModelServerConfig
from manager.model_config import ModelConfig, check, from_config
from manager.reload_outcome import ModelOutcome
from ringserve.channel import Message
from ringserve.errors import Code, ServingError

NOW = 1_700_000_000.0


class FakeAdministered:
    """Implements `manager.administered.Administered`.

    `disk`: by base path the versions that are there, each with the error that loading it ends with, or None. Versions in
    `stuck` stay LOADING, those in `lingering` stay UNLOADING. While `gate` is closed, reloads wait at it.
    A `lazy` server looks at the disk only when a test calls `find`.
    """

    def __init__(self) -> None:
        self.message = ModelServerConfig()
        self.message.model_config_list.SetInParent()
        self.disk: dict[str, dict[int, ServingError | None]] = {}
        self.stuck: set[tuple[str, int]] = set()
        self.lingering: set[tuple[str, int]] = set()
        self.file: ConfigFile | None = None
        self.lazy = False
        self.stop: asyncio.Event  # for a test that runs it in a thread
        self.gate = asyncio.Event()
        self.gate.set()
        self.reloads: list[Any] = []
        self.timeouts: list[float | None] = []
        self.explained: list[tuple[str, float]] = []
        self.versions: dict[str, dict[int, Message]] = {}
        self.aspired: dict[str, set[int]] = {}
        self._events = 0

    def add(self, name: str, *versions: int, policy: str = "", platform: str = "tensorflow") -> Any:
        """Serve a model at `/models/NAME`; its message."""
        self.disk[f"/models/{name}"] = dict.fromkeys(versions)
        model = self.message.model_config_list.config.add(name=name, base_path=f"/models/{name}", model_platform=platform)
        if policy == "all":
            model.model_version_policy.all.SetInParent()
        self.find()
        return model

    def state(self, name: str) -> dict[int, str]:
        return {version: entry["state"] for version, entry in self.versions.get(name, {}).items()}

    def model(self, name: str) -> Any:
        return next(model for model in self.message.model_config_list.config if model.name == name)

    def find(self) -> None:
        """Look at the disk and at the config, and bring each version to where it belongs."""
        models = {model.name: model for model in from_config(self.message)}
        for name in {*models, *self.versions}:
            known = self.versions.setdefault(name, {})
            wanted = self._aspired(models[name]) if name in models else {}
            self.aspired[name] = set(wanted)
            for version, error in wanted.items():
                if version not in known or known[version]["state"] == "END":
                    self._load(name, version, error)
            for version, entry in known.items():
                if version not in wanted and entry["state"] != "END":
                    self._enter(name, version, "UNLOADING" if (name, version) in self.lingering else "END")

    def _aspired(self, model: ModelConfig) -> dict[int, ServingError | None]:
        found = self.disk.get(model.base_path, {})
        return {version: found[version] for version, _ in model.policy([(version, str(version)) for version in found])}

    def _load(self, name: str, version: int, error: ServingError | None) -> None:
        if (name, version) in self.stuck:
            self._enter(name, version, "LOADING")
        else:
            self._enter(name, version, "END" if error else "AVAILABLE", error)

    def _enter(self, name: str, version: int, state: str, error: ServingError | None = None) -> None:
        self._events += 1
        self.versions[name][version] = {
            "version": version,
            "state": state,
            "error_code": error.code.name if error else "OK",
            "error_message": error.message if error else "",
            "since": NOW + self._events,
            "workers": {"cpu:0": "holds"} if state == "AVAILABLE" else {},
            "estimate_bytes": 3 << 20,
            "load_seconds": 0.25 if state == "AVAILABLE" else None,
            "warm_up": {"source": "file", "requests": 3, "seconds": 0.5, "notes": []} if state == "AVAILABLE" else None,
        }

    def config(self) -> Any:
        copy = ModelServerConfig()
        copy.CopyFrom(self.message)
        return copy

    async def reload(self, config: Any, timeout: float | None = None) -> list[ModelOutcome]:
        self.timeouts.append(timeout)
        models = from_config(config)
        check(models, ["cpu:0"])
        old = {model.name: model for model in from_config(self.message)}
        self.message = config
        self.reloads.append(config)
        if not self.lazy:
            self.find()
        await self.gate.wait()
        names = [model.name for model in models]
        changes = [
            ModelOutcome(
                model.name,
                "added" if model.name not in old else "kept" if model == old[model.name] else "changed",
                None if model.name in old else self._error(model.name),
            )
            for model in models
        ]
        return changes + [ModelOutcome(name, "removed") for name in old if name not in names]

    def _error(self, name: str) -> ServingError | None:
        for entry in self.versions[name].values():
            if entry["state"] == "END":
                return ServingError(Code[entry["error_code"]], entry["error_message"])
        return None if self.versions[name] else ServingError(Code.NOT_FOUND, "nothing there")

    async def reload_file(self, path: str | None, timeout: float | None = None) -> list[ModelOutcome]:
        file = self.file if path is None else ConfigFile(path)
        assert file is not None
        return await self.reload(file.parse(file.read()), timeout)

    async def explain(self, model: str, seconds: float) -> Message:
        self.explained.append((model, seconds))
        return {"model": model, "versions": [{"version": version} for version in self.versions.get(model, {})]}

    def describe(self) -> Message:
        models = from_config(self.message)
        gone = [name for name in self.versions if name not in {model.name for model in models}]
        process = {"pid": 41, "state": "ready", "restarts": 1, "rss_bytes": 200 << 20}
        return {
            "models": [self._entry(model) for model in models]
            + [{**self._entry(ModelConfig(name, "", platform="")), "policy": "", "trouble": "gone"} for name in gone],
            "workers": [{"title": "worker cpu:0", "device": "cpu:0", **process}],
            "frontends": [{"title": "frontend rest 0", **process, "pid": 0, "rss_bytes": None}],
            "memory": {"limit_bytes": 1 << 30, "reserved_bytes": 3 << 20},
            "loads": [{"model": "m", "result": "ok", "count": 2}],
            "reloads": {"ok": 1, "refused": 0},
        }

    def _entry(self, model: ModelConfig) -> Message:
        versions = self.versions.get(model.name, {})
        aspired = self.aspired.get(model.name, ())
        return {
            "name": model.name,
            "base_path": model.base_path,
            "platform": model.platform,
            "policy": str(model.policy) if callable(model.policy) else "",
            "source": "",
            "devices": ["cpu:0"],
            "labels": {label: [list(share) for share in shares] for label, shares in model.routing.items()},
            "shadows": [
                [version, rate, {"compared": 9, "differed": 1, "failed": 0, "dropped": 0}] for version, rate in model.shadows
            ],
            "trouble": None if versions else f"nothing at {model.base_path}",
            "versions": [{**versions[v], "aspired": v in aspired} for v in sorted(versions, reverse=True)],
        }
