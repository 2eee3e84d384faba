"""What probes are told: of a server that is well, that lacks models, that stops."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from made_catalogs import end, load, report
from made_signatures import signature, spec

from frontend.catalog import Catalog, Version
from frontend.rest.health import respond
from ringserve.errors import Code
from ringserve.servable import ServableId, State

DEFAULT = signature(spec("x"))


def ask(catalog: Catalog, path: str, stopping: bool = False) -> tuple[int, Any]:
    reply = respond(path, catalog, stopping)
    assert reply is not None
    assert reply.content_type == "application/json"
    assert reply.body.endswith(b"\n")
    headers = dict(reply.headers)
    assert headers.pop("Cache-Control") == "no-store"
    assert headers == ({"Retry-After": "1"} if reply.status == 503 else {})
    return reply.status, json.loads(reply.body)


def ready(catalog: Catalog, model: str = "") -> bool:
    status, document = ask(catalog, f"/readyz/{model}" if model else "/readyz")
    assert document["status"] == {200: "ok", 503: "unavailable"}[status]
    return status == 200


def with_lanes(version: Version, *avoided: bool) -> list[SimpleNamespace]:
    """Lanes to workers of which some are to be avoided, as endpoints have them."""
    lanes = [SimpleNamespace(avoided=is_avoided) for is_avoided in avoided]
    version.endpoint("serving_default").base.extend(lanes)  # type: ignore[arg-type]
    return lanes


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/livez?verbose", "/healthz?"])
def test_alive_whatever_models_do(path: str) -> None:
    catalog = Catalog()
    report(catalog, "m", 1, State.END, Code.INTERNAL, "broken")
    for stopping in (False, True):
        assert ask(catalog, path, stopping) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "path", ["/", "/livez/", "/livezz", "/readyz/", "/READYZ", "/health", "/v1/models/m", "", "/readyz%2Fm"]
)
def test_other_paths(path: str) -> None:
    assert respond(path, Catalog(), False) is None


def test_a_server_without_models_is_ready() -> None:
    assert ask(Catalog(), "/readyz") == (200, {"status": "ok"})


def test_ready_while_every_model_has_a_version() -> None:
    catalog = Catalog()
    load(catalog, "m", 1, DEFAULT)
    load(catalog, "n", 1, DEFAULT)
    report(catalog, "m", 2, State.LOADING)  # the next one loads beside it
    report(catalog, "m", 3, State.END, Code.INTERNAL, "broken")
    assert ready(catalog) and ready(catalog, "m") and ready(catalog, "n")
    report(catalog, "late", 1, State.START)
    assert not ready(catalog) and not ready(catalog, "late")
    assert ready(catalog, "m")
    load(catalog, "late", 1, DEFAULT)
    assert ready(catalog) and ready(catalog, "late")


def test_what_is_lacking_is_listed() -> None:
    catalog = Catalog()
    load(catalog, "fine", 1, DEFAULT)
    report(catalog, "broken", 1, State.END, Code.INTERNAL, "no such file")
    report(catalog, "coming", 2, State.LOADING)
    status, document = ask(catalog, "/readyz")
    assert status == 503
    assert document["error"] == "2 of 3 models can't be asked"
    assert document["models"] == {
        "broken": {
            "error": "Version 1 could not be loaded: no such file",
            "model_version_status": [
                {"version": "1", "state": "END", "status": {"error_code": "INTERNAL", "error_message": "no such file"}}
            ],
        },
        "coming": {
            "error": "It is being loaded",
            "model_version_status": [
                {"version": "2", "state": "LOADING", "status": {"error_code": "OK", "error_message": ""}}
            ],
        },
    }
    assert ask(catalog, "/readyz/broken") == (503, {"status": "unavailable", **document["models"]["broken"]})


def test_not_ready_once_it_stops() -> None:
    catalog = Catalog()
    load(catalog, "m", 1, DEFAULT)
    stopping = (503, {"status": "unavailable", "error": "The server is stopping"})
    assert ask(catalog, "/readyz", stopping=True) == stopping
    assert ask(catalog, "/readyz/m", stopping=True) == stopping
    assert ask(catalog, "/readyz/x", stopping=True)[0] == 404


def test_a_version_that_requests_do_not_find_yet_is_not_ready() -> None:
    catalog = Catalog()
    message = {"metadata": {}, "signatures": [DEFAULT.to_wire()]}
    catalog.add(Version(ServableId("m", 1), message, lambda _: None), routed=False)
    report(catalog, "m", 1, State.LOADING)
    assert not ready(catalog, "m")
    catalog.route(ServableId("m", 1))
    assert ready(catalog, "m")


@pytest.mark.parametrize("ended", [Code.OK, Code.CANCELLED])
def test_a_model_that_nobody_wants_any_more_is_not_missed(ended: Code) -> None:
    catalog = Catalog()
    load(catalog, "kept", 1, DEFAULT)
    load(catalog, "removed", 1, DEFAULT)
    catalog.retire(ServableId("removed", 1))
    report(catalog, "removed", 1, State.UNLOADING)
    assert ready(catalog)
    end(catalog, "removed", 1, ended)
    assert ready(catalog)
    status, document = ask(catalog, "/readyz/removed")
    assert (status, document["status"]) == (404, "unknown")
    assert [version["state"] for version in document["model_version_status"]] == ["END"]


def test_a_switch_that_unloads_first_is_not_ready_in_between() -> None:
    catalog = Catalog()
    load(catalog, "m", 1, DEFAULT)
    report(catalog, "m", 2, State.START)
    end(catalog, "m", 1)
    assert not ready(catalog)
    report(catalog, "m", 2, State.END, Code.RESOURCE_EXHAUSTED, "too large")
    assert not ready(catalog)
    assert "too large" in ask(catalog, "/readyz/m")[1]["error"]


def test_what_is_configured_decides_where_it_is_known() -> None:
    """A removed model's failed versions are still reported; one without a version yet is not reported at all."""
    catalog = Catalog()
    load(catalog, "m", 1, DEFAULT)
    report(catalog, "failed", 1, State.END, Code.INTERNAL, "broken")
    catalog.set_models(["m", "failed", "empty"])
    assert set(ask(catalog, "/readyz")[1]["models"]) == {"failed", "empty"}
    empty = {"status": "unavailable", "error": "It has no version", "model_version_status": []}
    assert ask(catalog, "/readyz/empty") == (503, empty)
    catalog.set_models(["m"])
    assert ready(catalog)
    assert ask(catalog, "/readyz/failed")[0] == ask(catalog, "/readyz/empty")[0] == 404
    catalog.set_models([])
    assert ready(catalog, "m")  # until it is retired
    end(catalog, "m", 1)
    assert ask(catalog, "/readyz/m")[0] == 404
    catalog.set_models(["m"])
    assert not ready(catalog)


def test_a_version_needs_a_worker() -> None:
    catalog = Catalog()
    lanes = with_lanes(load(catalog, "m", 1, DEFAULT), True, False)
    assert ready(catalog)
    lanes[1].avoided = True
    assert not ready(catalog)
    assert ask(catalog, "/readyz/m")[1]["error"] == "No worker can take its requests now"
    load(catalog, "m", 2, DEFAULT)  # whose lanes are made when they are needed
    assert ready(catalog)


@pytest.mark.parametrize(
    ("name", "path"),
    [("a/b", "a%2Fb"), ("a/b", "a/b"), ("a b", "a%20b"), ("mé", "m%C3%A9"), ("mé", "mé"), ("100%", "100%"), ("a+b", "a+b")],
)
def test_names_of_models_in_paths(name: str, path: str) -> None:
    catalog = Catalog()
    load(catalog, name, 1, DEFAULT)
    assert ready(catalog, path)
    assert ready(catalog, f"{path}?verbose")


@pytest.mark.parametrize("path", ["x", "%ff", "%00", "\udcff", "%F0%9F", "M", "x" * 100_000])
def test_unknown_models(path: str) -> None:
    catalog = Catalog()
    load(catalog, "m", 1, DEFAULT)
    status, document = ask(catalog, f"/readyz/{path}")
    assert (status, document["status"], document["model_version_status"]) == (404, "unknown", [])
