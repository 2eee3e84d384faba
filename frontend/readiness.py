"""Whether models can be asked, and whether the server can: the same for every protocol's probes."""

from __future__ import annotations

from typing import Final, NamedTuple

from frontend.catalog import Catalog, Version, VersionStatus
from ringserve.errors import Code
from ringserve.servable import State

_COMING: Final = frozenset((State.UNKNOWN, State.START, State.LOADING))
#: What a version that nobody wants any more ends with.
_UNWANTED: Final = frozenset((Code.OK, Code.CANCELLED))

#: Why neither the server nor any of its models can be asked once it stops.
STOPPING: Final = "The server is stopping"


class Readiness(NamedTuple):
    """Whether a model can be asked; `gone`: nobody expects so. `error`: why not, or empty."""

    ready: bool
    gone: bool
    error: str
    versions: list[VersionStatus]

    @classmethod
    def of(cls, name: str, catalog: Catalog) -> Readiness:
        reported, found = catalog.reported(name), catalog.versions(name)
        if any(_has_worker(version) for version in found):
            return cls(True, False, "", reported)
        if not _is_expected(name, catalog, reported):
            return cls(False, True, f"There is no model {name}", reported)
        if found:
            return cls(False, False, "No worker can take its requests now", reported)
        return cls(False, False, _lack(reported), reported)

    @property
    def is_lacking(self) -> bool:
        """Is it to be served, and can't be asked?"""
        return not self.ready and not self.gone


class ServerReadiness(NamedTuple):
    """Ready while requests find a version of every model that is to be served. `error`: why not, or empty."""

    ready: bool
    error: str
    lacking: dict[str, Readiness]

    @classmethod
    def of(cls, catalog: Catalog, stopping: bool) -> ServerReadiness:
        if stopping:
            return cls(False, STOPPING, {})
        names = catalog.names
        models = {name: Readiness.of(name, catalog) for name in names}
        lacking = {name: readiness for name, readiness in models.items() if readiness.is_lacking}
        error = f"{len(lacking)} of {len(names)} models can't be asked" if lacking else ""
        return cls(not lacking, error, lacking)


def _is_expected(name: str, catalog: Catalog, reported: list[VersionStatus]) -> bool:
    """Is this a model to be served? Where nobody has said, not one whose versions all ended without having failed: they
    were not wanted any more.
    """
    configured = catalog.is_configured(name)
    if configured is not None:
        return configured
    return bool(catalog.versions(name)) or any(status.state in _COMING or _has_failed(status) for status in reported)


def _lack(reported: list[VersionStatus]) -> str:
    """Why requests find no version."""
    if any(status.state in _COMING for status in reported):
        return "It is being loaded"
    failed = next((status for status in reported if _has_failed(status)), None)
    if failed is not None:
        return f"Version {failed.version} could not be loaded: {failed.message}"
    return "It has no version"


def _has_failed(status: VersionStatus) -> bool:
    return status.state is State.END and status.code not in _UNWANTED


def _has_worker(version: Version) -> bool:
    """Is there a worker to which requests may go? One whose lanes are made when the first request comes has."""
    lanes = [lane for endpoint in version.endpoints for lane in endpoint.lanes]
    return not lanes or not all(lane.avoided for lane in lanes)
