"""Health, for whoever decides whether to restart this server and whether to send it requests."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson

from frontend.catalog import Catalog
from frontend.readiness import STOPPING, Readiness, ServerReadiness
from frontend.rest.reply import Reply
from frontend.rest.status import status_entry

_ALIVE: Final = frozenset(("/livez", "/healthz"))
_READY: Final = "/readyz"
_OF_MODEL: Final = "/readyz/"
_UNCACHED: Final = (("Cache-Control", "no-store"),)
_RETRY_SECONDS: Final = "1"


def respond(path: str, catalog: Catalog, stopping: bool) -> Reply | None:
    """The answer to GET or HEAD of a path, as it was sent, with its query or without; None if it is no health path."""
    path = path.partition("?")[0]
    if path in _ALIVE:
        return _answer(200, {"status": "ok"})
    if path == _READY:
        return _server(ServerReadiness.of(catalog, stopping))
    if path.startswith(_OF_MODEL) and len(path) > len(_OF_MODEL):
        name = unquote_to_bytes(path[len(_OF_MODEL) :].encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
        return _model(Readiness.of(name, catalog), stopping)
    return None


def _answer(status: int, document: dict[str, Any]) -> Reply:
    headers = (*_UNCACHED, ("Retry-After", _RETRY_SECONDS)) if status == 503 else _UNCACHED
    return Reply(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n", status, headers=headers)


def _server(readiness: ServerReadiness) -> Reply:
    if readiness.ready:
        return _answer(200, {"status": "ok"})
    document: dict[str, Any] = {"status": "unavailable", "error": readiness.error}
    if readiness.lacking:
        document["models"] = {name: _document(lacking) for name, lacking in readiness.lacking.items()}
    return _answer(503, document)


def _model(readiness: Readiness, stopping: bool) -> Reply:
    if readiness.gone:
        return _answer(404, {"status": "unknown", **_document(readiness)})
    if stopping:
        return _answer(503, {"status": "unavailable", "error": STOPPING})
    if not readiness.ready:
        return _answer(503, {"status": "unavailable", **_document(readiness)})
    return _answer(200, {"status": "ok", **_document(readiness)})


def _document(readiness: Readiness) -> dict[str, Any]:
    """The error, if there is one, and the versions as the status route shows them."""
    shown = {"model_version_status": [status_entry(status) for status in readiness.versions]}
    return {"error": readiness.error, **shown} if readiness.error else shown
