"""Health, for whoever decides whether to restart this server and whether to send it requests."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from frontend.catalog import Catalog, Version, VersionStatus
from frontend.rest.reply import Reply
from frontend.rest.status import status_entry
from ringserve.errors import Code
from ringserve.servable import State

_ALIVE: Final = frozenset(("/livez", "/healthz"))
_READY: Final = "/readyz"
_OF_MODEL: Final = "/readyz/"
_UNCACHED: Final = (("Cache-Control", "no-store"),)
_RETRY_SECONDS: Final = "1"

_COMING: Final = frozenset((State.UNKNOWN, State.START, State.LOADING))
#: What a version that nobody wants any more ends with.
_UNWANTED: Final = frozenset((Code.OK, Code.CANCELLED))

_STOPPING: Final = "The server is stopping"


def respond(path: str, catalog: Catalog, stopping: bool) -> Reply | None:
    """The answer to GET or HEAD of a path, as it was sent, with its query or without; None if it is no health path."""
    path = path.partition("?")[0]
    if path in _ALIVE:
        return _answer(200, {"status": "ok"})
    if path == _READY:
        return _server(catalog, stopping)
    if path.startswith(_OF_MODEL) and len(path) > len(_OF_MODEL):
        name = unquote_to_bytes(path[len(_OF_MODEL) :].encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
        return _model(name, catalog, stopping)
    return None


def _answer(status: int, document: dict[str, Any]) -> Reply:
    headers = (*_UNCACHED, ("Retry-After", _RETRY_SECONDS)) if status == 503 else _UNCACHED
    return Reply(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n", status, headers=headers)


def _server(catalog: Catalog, stopping: bool) -> Reply:
    """Ready while requests find a version of every model that is to be served."""
    if stopping:
        return _answer(503, {"status": "unavailable", "error": _STOPPING})
    lacking = {}
    for name in catalog.names:
        readiness = Readiness.of(name, catalog)
        if not readiness.ready and not readiness.gone:
            lacking[name] = readiness.document
    if lacking:
        text = f"{len(lacking)} of {len(catalog.names)} models can't be asked"
        return _answer(503, {"status": "unavailable", "error": text, "models": lacking})
    return _answer(200, {"status": "ok"})


def _model(name: str, catalog: Catalog, stopping: bool) -> Reply:
    readiness = Readiness.of(name, catalog)
    if readiness.gone:
        return _answer(404, {"status": "unknown", **readiness.document})
    if stopping:
        return _answer(503, {"status": "unavailable", "error": _STOPPING})
    if not readiness.ready:
        return _answer(503, {"status": "unavailable", **readiness.document})
    return _answer(200, {"status": "ok", **readiness.document})


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
    def document(self) -> dict[str, Any]:
        """For an answer: the error, if there is one, and the versions as the status route shows them."""
        shown = {"model_version_status": [status_entry(status) for status in self.versions]}
        return {"error": self.error, **shown} if self.error else shown


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
