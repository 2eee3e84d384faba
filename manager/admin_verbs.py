"""What can be asked on the admin socket: look at the models and change them. docs/admin.md tells what each verb takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from manager import config_edits
from manager.admin_request import AdminRequest
from manager.administered import Administered
from manager.model_changes import Deadline, ModelChanges
from manager.model_view import ModelView, has_ended
from ringserve.errors import Code, ServingError

if TYPE_CHECKING:
    from manager.reload_outcome import ModelOutcome

_Answer = dict[str, Any]

_LISTED: Final = ("name", "platform", "base_path", "policy", "labels", "trouble")
# A failure that was there before the change is the change's as well when nothing has happened by then: the server tries
# again at once or not at all.
_OLD_FAILURE_SECONDS: Final = 3.0
_EXPLAIN_SECONDS: Final = 5.0  # for workers to say what they know, at most: of one that hangs only that is told


class AdminVerbs:
    """Does what a request says, on the event loop of the server's own objects."""

    def __init__(self, administered: Administered) -> None:
        self._administered = administered
        self._changes = ModelChanges()
        self.verbs: Mapping[str, Callable[[AdminRequest], Awaitable[_Answer]]] = {
            "list": self._list,
            "status": self._status,
            "explain": self._explain,
            "load": self._load,
            "unload": self._unload,
            "reload": self._reload,
            "set_label": self._set_label,
            "remove_label": self._remove_label,
            "set_shadow": self._set_shadow,
        }

    async def do(self, line: bytes) -> _Answer:
        """The result of a request's one line. Raises ServingError."""
        request = AdminRequest(line)
        verb = self.verbs.get(request.verb)
        if verb is None:
            raise ServingError(Code.UNIMPLEMENTED, f"unknown verb {request.verb} (there are {', '.join(self.verbs)})")
        return await verb(request)

    async def close(self) -> None:
        await self._changes.close()

    async def _list(self, request: AdminRequest) -> _Answer:
        request.done()
        models = self._administered.describe()["models"]
        return {"models": [_summary(model) for model in models if not has_ended(model)]}

    async def _status(self, request: AdminRequest) -> _Answer:
        name = request.optional_text("model")
        request.done()
        description = self._administered.describe()
        models = description["models"]
        if name is None:
            return {**description, "models": [model for model in models if not has_ended(model)]}
        models = [model for model in models if model["name"] == name]
        if not models:
            raise _not_configured(name)
        return {**description, "models": models}

    async def _explain(self, request: AdminRequest) -> _Answer:
        name = request.text("model")
        request.done()
        if ModelView(self._administered, name).entry() is None:
            raise _not_configured(name)
        return await self._administered.explain(name, min(request.timeout, _EXPLAIN_SECONDS))

    async def _load(self, request: AdminRequest) -> _Answer:
        name, base_path = request.text("model"), request.optional_text("base_path")
        platform, version = request.optional_text("platform"), request.optional_version("version")
        request.done()
        view = ModelView(self._administered, name)
        before = view.since()

        def edit(config: Any) -> None:
            if base_path is None:
                model = config_edits.find_model(config, name, ": a base path is needed to add it")
                config_edits.check_platform(model, platform)
            else:
                model = config_edits.add_model(config, name, base_path, platform)
            if version is not None:
                config_edits.pin_version(model, version, view.held())

        def come(waited: float) -> bool:
            return view.has_come(version, before if waited < _OLD_FAILURE_SECONDS else None)

        deadline = Deadline(request.timeout)
        outcomes = await self._change(name, edit, deadline)
        await self._changes.wait(come, lambda: view.lateness(version), deadline)
        return self._answer(name, outcomes)

    async def _unload(self, request: AdminRequest) -> _Answer:
        name, version = request.text("model"), request.optional_version("version")
        request.done()
        view = ModelView(self._administered, name)

        def edit(config: Any) -> None:
            if version is None:
                config_edits.remove_model(config, name)
            else:
                config_edits.unpin_version(config_edits.find_model(config, name), version, view.held())

        deadline = Deadline(request.timeout)
        outcomes = await self._change(name, edit, deadline)
        late = f"model {name} is still being unloaded"
        await self._changes.wait(lambda _: view.has_gone(version), lambda: late, deadline)
        return self._answer(name, outcomes)

    async def _reload(self, request: AdminRequest) -> _Answer:
        path = request.optional_text("file")
        request.done()
        if path is not None and not path.startswith("/"):  # it would be relative to the server's folder, not the caller's
            raise ServingError(Code.INVALID_ARGUMENT, f"file is not an absolute path: {path}")
        reload = partial(self._administered.reload_file, path)
        return {"outcomes": _outcomes(await self._changes.apply(reload, Deadline(request.timeout)))}

    async def _set_label(self, request: AdminRequest) -> _Answer:
        label, weights = request.text("label"), request.weights("versions")
        return await self._edit_model(request, lambda model: config_edits.set_label(model, label, weights))

    async def _remove_label(self, request: AdminRequest) -> _Answer:
        label = request.text("label")
        return await self._edit_model(request, lambda model: config_edits.remove_label(model, label))

    async def _set_shadow(self, request: AdminRequest) -> _Answer:
        version, rate = request.version("version"), request.number("rate")
        return await self._edit_model(request, lambda model: config_edits.set_shadow(model, version, rate))

    async def _edit_model(self, request: AdminRequest, change: Callable[[Any], None]) -> _Answer:
        name = request.text("model")
        request.done()

        def edit(config: Any) -> None:
            change(config_edits.find_model(config, name))

        return self._answer(name, await self._change(name, edit, Deadline(request.timeout)))

    async def _change(self, name: str, edit: Callable[[Any], None], deadline: Deadline) -> Sequence[ModelOutcome]:
        """Apply an edit of one model; raises the error that came of it for that model."""

        async def reload(seconds: float) -> list[ModelOutcome]:
            # Nothing comes between these: `reload` applies the config before it waits for anything. So each of two changes
            # at the same time edits what the other made, and neither is lost.
            config = self._administered.config()
            edit(config)
            return await self._administered.reload(config, seconds)

        outcomes = await self._changes.apply(reload, deadline)
        for outcome in outcomes:
            if outcome.name == name and outcome.error is not None:
                raise outcome.error
        return outcomes

    def _answer(self, name: str, outcomes: Sequence[ModelOutcome]) -> _Answer:
        return {"outcomes": _outcomes(outcomes), "model": ModelView(self._administered, name).entry()}


def error_fields(error: ServingError) -> dict[str, str]:
    """An error as it goes over the socket."""
    return {"code": error.code.name, "message": error.message}


def _not_configured(name: str) -> ServingError:
    return ServingError(Code.NOT_FOUND, f"no model {name} is configured")


def _summary(model: Mapping[str, Any]) -> _Answer:
    versions = [{"version": entry["version"], "state": entry["state"]} for entry in model["versions"]]
    return {**{key: model[key] for key in _LISTED}, "versions": versions}


def _outcomes(outcomes: Sequence[ModelOutcome]) -> list[_Answer]:
    return [
        {"model": outcome.name, "change": outcome.change, "error": error_fields(outcome.error) if outcome.error else None}
        for outcome in outcomes
    ]
