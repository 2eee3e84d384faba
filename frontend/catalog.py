"""What is served, as this front end was told: models, versions, their signatures and states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from frontend.endpoint import Endpoint
from frontend.labels import Label
from ringserve.batching_parameters import BatchingParameters
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.handle import ServableHandle
from ringserve.servable import ServableId, State
from ringserve.signature import Signature


class ModelSpec(NamedTuple):
    """Which version of which model a request wants: the highest where it names neither version nor label.

    `key`: requests with the same one get the same version of a label that splits its requests.
    """

    name: str
    version: int | None = None
    label: str | None = None
    key: str | None = None


class VersionStatus(NamedTuple):
    """A version's state; `code` and `message` say why it failed."""

    version: int
    state: State
    code: Code
    message: str


class Version:
    """A loaded version: its signatures, and an endpoint for each that was asked for.

    `parameters`: what its requests are batched by, where it has any.
    """

    def __init__(self, servable: ServableId, message: Message, ask: Callable[[Message], None]) -> None:
        self.id = servable
        self.metadata: Any = message["metadata"]
        self.signatures = {wire[0]: Signature.from_wire(wire) for wire in message["signatures"]}
        wire = message.get("batching")
        self.parameters = None if wire is None else BatchingParameters.from_wire(wire)
        self._endpoints: dict[str, Endpoint] = {}
        self._ask = ask

    def endpoint(self, signature: str) -> Endpoint:
        """Raises KeyError for a name that is no signature of this version."""
        found = self._endpoints.get(signature)
        if found is None:
            found = Endpoint(self.id, self.signatures[signature], self._ask, self.parameters)
            self._endpoints[signature] = found
        return found

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self._endpoints.values())


class Catalog:
    """Kept up to date by the supervisor's messages; read by requests. Implements `ringserve.handle.Manager`."""

    def __init__(self) -> None:
        self._loaded: dict[ServableId, ServableHandle[Version]] = {}  # those that are being retired too
        self._models: dict[str, dict[int, ServableHandle[Version]]] = {}  # those that requests find
        self._latest: dict[str, ServableHandle[Version]] = {}
        self._labels: dict[str, dict[str, Label]] = {}
        self._status: dict[str, dict[int, VersionStatus]] = {}
        self._configured: frozenset[str] | None = None  # None: not told
        self._listeners: list[Callable[[Collection[str]], None]] = []

    def listen(self, tell: Callable[[Collection[str]], None]) -> None:
        """Whenever the states of models change, or who can take their requests, call `tell` with the models' names.

        Often many times in a row: it should only make a note.
        """
        self._listeners.append(tell)

    def notify(self, names: Collection[str]) -> None:
        """Something changed of these models: for what the catalog does not see, as which workers are to be avoided."""
        for tell in self._listeners:
            tell(names)

    def add(self, version: Version, routed: bool = True) -> None:
        """A version is loaded; not `routed`: requests find it only after `route`, when its lanes are there."""
        self._loaded[version.id] = ServableHandle(version.id, version)
        if routed:
            self.route(version.id)

    def route(self, servable: ServableId) -> None:
        """Requests find the version from now on."""
        handle = self._loaded.get(servable)
        if handle is not None:
            self._models.setdefault(servable.name, {})[servable.version] = handle
            self._note_latest(servable.name)
            self.notify((servable.name,))

    def _note_latest(self, name: str) -> None:
        versions = self._models.get(name)
        if versions:
            self._latest[name] = versions[max(versions)]
        else:
            self._latest.pop(name, None)
            self._models.pop(name, None)

    def retire(self, servable: ServableId) -> ServableHandle[Version] | None:
        """No request finds the version any more; those that hold its handle go on. None: it is not loaded."""
        self._models.get(servable.name, {}).pop(servable.version, None)
        self._note_latest(servable.name)
        self.notify((servable.name,))
        return self._loaded.get(servable)

    def remove(self, handle: ServableHandle[Version]) -> None:
        """Nobody holds the retired version any more."""
        if self._loaded.get(handle.id) is handle:
            del self._loaded[handle.id]

    def find(self, servable: ServableId) -> Version | None:
        """A loaded version, whether requests find it or not."""
        handle = self._loaded.get(servable)
        return None if handle is None else handle.servable

    def loaded(self, servable: ServableId | None) -> list[Version]:
        """All loaded versions, or (given one) that one."""
        return [handle.servable for handle in self._loaded.values() if servable in (None, handle.id)]

    def available_servable_ids(self) -> list[ServableId]:
        return [handle.id for versions in self._models.values() for handle in versions.values()]

    def versions(self, name: str) -> list[Version]:
        """Those that requests find, highest first."""
        found = self._models.get(name, _NO_VERSIONS)
        return [found[number].servable for number in sorted(found, reverse=True)]

    def servable_handle(self, request: ModelSpec) -> ServableHandle[Version]:
        """Resolve a request to the version that it wants, pinned. Raises ServingError with upstream's texts."""
        version = request.version if request.label is None else self._labelled(request.name, request.label, request.key)
        if version is None:
            handle = self._latest.get(request.name)
        else:
            handle = self._models.get(request.name, _NO_VERSIONS).get(version)
        if handle is None:
            wanted = f"Latest({request.name})" if version is None else f"Specific({request.name}, {version})"
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        handle.holders += 1
        return handle

    def _labelled(self, name: str, label: str, key: str | None) -> int:
        found = self._labels.get(name, _NO_LABELS).get(label)
        if found is None:
            raise ServingError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        return found.pick(key, self._models.get(name, _NO_VERSIONS))

    def set_labels(self, name: str, labels: dict[str, Sequence[tuple[int, float]]]) -> None:
        """The model's labels from now on, each with its versions and their weights."""
        if labels:
            self._labels[name] = {label: Label(name, label, split) for label, split in labels.items()}
        else:
            self._labels.pop(name, None)
        self.notify((name,))

    def labels(self, name: str) -> dict[str, dict[int, float]]:
        """The model's labels, each with its versions and their weights."""
        return {text: dict(label.weights) for text, label in sorted(self._labels.get(name, _NO_LABELS).items())}

    def set_models(self, names: Iterable[str]) -> None:
        """From now on these models are configured, and no others."""
        before, now = self._configured, frozenset(names)
        self._configured = now
        self.notify(self.names if before is None else before ^ now)

    def is_configured(self, name: str) -> bool | None:
        """None: nobody has said."""
        return None if self._configured is None else name in self._configured

    @property
    def names(self) -> list[str]:
        """Every model that is configured, or that has a version that requests find or that is reported."""
        return sorted(self._status.keys() | self._models.keys() | (self._configured or frozenset()))

    def set_status(self, name: str, status: VersionStatus) -> None:
        self._status.setdefault(name, {})[status.version] = status
        self.notify((name,))

    def forget_status(self, name: str, versions: Iterable[int]) -> None:
        """These versions ended, and are not reported any more."""
        reported = self._status.get(name, {})
        for version in versions:
            reported.pop(version, None)
        if not reported:
            self._status.pop(name, None)
        self.notify((name,))

    def reported(self, name: str) -> list[VersionStatus]:
        """Every version reported, highest first; none of a model that is not known."""
        reported = self._status.get(name, {})
        return [reported[number] for number in sorted(reported, reverse=True)]

    def status(self, name: str, version: int | None) -> list[VersionStatus]:
        """Every version reported, highest first, or the one asked for. Raises ServingError when there is none."""
        reported = self._status.get(name, {})
        if version is not None:
            if version not in reported:
                raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
            return [reported[version]]
        if not reported:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return self.reported(name)


# Looking into one costs less than asking whether there is any.
_NO_VERSIONS: Final[dict[int, ServableHandle[Version]]] = {}
_NO_LABELS: Final[dict[str, Label]] = {}
