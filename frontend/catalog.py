"""What is served, as this front end was told: models, versions, their signatures and states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from frontend.endpoint import Endpoint
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State
from ringserve.signature import Signature


class ModelSpec(NamedTuple):
    """Which version of which model a request wants: the highest where it names neither version nor label."""

    name: str
    version: int | None = None
    label: str | None = None


class VersionStatus(NamedTuple):
    """A version's state; `code` and `message` say why it failed."""

    version: int
    state: State
    code: Code
    message: str


class Version:
    """A loaded version: its signatures, and an endpoint for each that was asked for."""

    def __init__(self, servable: ServableId, message: Message, ask: Callable[[Message], None]) -> None:
        self.id = servable
        self.metadata: Any = message["metadata"]
        self.signatures = {wire[0]: Signature.from_wire(wire) for wire in message["signatures"]}
        self._endpoints: dict[str, Endpoint] = {}
        self._ask = ask

    def endpoint(self, signature: str) -> Endpoint:
        """Raises KeyError for a name that is no signature of this version."""
        found = self._endpoints.get(signature)
        if found is None:
            found = self._endpoints[signature] = Endpoint(self.id, self.signatures[signature], self._ask)
        return found

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self._endpoints.values())


class Catalog:
    """Kept up to date by the supervisor's messages; read by requests."""

    def __init__(self) -> None:
        self._loaded: dict[ServableId, Version] = {}
        self._models: dict[str, dict[int, Version]] = {}  # those that requests find
        self._latest: dict[str, Version] = {}
        self._status: dict[str, list[VersionStatus]] = {}

    def add(self, version: Version, routed: bool = True) -> None:
        """A version is loaded; not `routed`: requests find it only after `route`, when its lanes are there."""
        self._loaded[version.id] = version
        if routed:
            self.route(version.id)

    def route(self, servable: ServableId) -> None:
        """Requests find the version from now on."""
        version = self._loaded.get(servable)
        if version is not None:
            self._models.setdefault(servable.name, {})[servable.version] = version
            self._note_latest(servable.name)

    def _note_latest(self, name: str) -> None:
        versions = self._models.get(name)
        if versions:
            self._latest[name] = versions[max(versions)]
        else:
            self._latest.pop(name, None)
            self._models.pop(name, None)

    def set_status(self, name: str, versions: list[VersionStatus]) -> None:
        self._status[name] = versions

    def retire(self, servable: ServableId) -> Version | None:
        """No request finds the version any more."""
        self._models.get(servable.name, {}).pop(servable.version, None)
        self._note_latest(servable.name)
        return self._loaded.pop(servable, None)

    def find(self, servable: ServableId) -> Version | None:
        """A loaded version, routed or not."""
        return self._loaded.get(servable)

    def __iter__(self) -> Iterator[Version]:
        return iter(self._loaded.values())

    def resolve(self, spec: ModelSpec) -> Version:
        """The version that a request wants. Raises ServingError with upstream's texts."""
        if spec.label is not None:
            raise ServingError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.label}")
        if spec.version is None:
            latest = self._latest.get(spec.name)
            if latest is None:
                raise ServingError(Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
            return latest
        version = self._models.get(spec.name, {}).get(spec.version)
        if version is None:
            text = f"Servable not found for request: Specific({spec.name}, {spec.version})"
            raise ServingError(Code.NOT_FOUND, text)
        return version

    def status(self, name: str, version: int | None) -> list[VersionStatus]:
        """Every version ever seen, highest first, or the one asked for. Raises ServingError when there is none."""
        versions = self._status.get(name, [])
        if version is not None:
            versions = [status for status in versions if status.version == version]
            if not versions:
                raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        if not versions:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return versions
