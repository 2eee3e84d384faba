"""Which version a request gets, and what the status route knows."""

from __future__ import annotations

import pytest
from made_signatures import signature, spec

from frontend.catalog import Catalog, ModelSpec, Version, VersionStatus
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State


def version(name: str, number: int) -> Version:
    message = {"metadata": {}, "signatures": [signature(spec("x")).to_wire(), signature(spec("y"), name="other").to_wire()]}
    return Version(ServableId(name, number), message, lambda _: None)


def catalog(*servables: tuple[str, int]) -> Catalog:
    made = Catalog()
    for name, number in servables:
        made.add(version(name, number))
    return made


def resolved(of: Catalog, name: str, number: int | None = None) -> int:
    found = of.resolve(ModelSpec(name, number))
    assert found.id.name == name
    return found.id.version


def refusal(of: Catalog, name: str, number: int | None = None, label: str | None = None) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        of.resolve(ModelSpec(name, number, label))
    return caught.value.code, caught.value.message


def test_the_largest_version_is_the_latest() -> None:
    models = catalog(("m", 2), ("m", 10), ("m", 9), ("n", 1))
    assert resolved(models, "m") == 10
    assert resolved(models, "m", 9) == 9
    assert resolved(models, "n") == 1
    models.add(version("m", 3))
    assert resolved(models, "m") == 10
    assert sorted(found.id for found in models) == [("m", 2), ("m", 3), ("m", 9), ("m", 10), ("n", 1)]


def test_not_found() -> None:
    models = catalog(("m", 2))
    assert refusal(models, "x") == (Code.NOT_FOUND, "Servable not found for request: Latest(x)")
    assert refusal(models, "x", 1) == (Code.NOT_FOUND, "Servable not found for request: Specific(x, 1)")
    assert refusal(models, "m", 1) == (Code.NOT_FOUND, "Servable not found for request: Specific(m, 1)")
    assert refusal(Catalog(), "") == (Code.NOT_FOUND, "Servable not found for request: Latest()")


def test_unknown_label() -> None:
    for name in ("m", "unknown"):
        wanted = (Code.INVALID_ARGUMENT, "Unrecognized servable version label: stable")
        assert refusal(catalog(("m", 2)), name, label="stable") == wanted


def test_retired_versions_are_not_found() -> None:
    models = catalog(("m", 1), ("m", 2))
    retired = models.retire(ServableId("m", 2))
    assert retired is not None and retired.id.version == 2
    assert resolved(models, "m") == 1
    assert refusal(models, "m", 2)[0] is Code.NOT_FOUND
    assert models.find(ServableId("m", 2)) is None
    assert models.retire(ServableId("m", 2)) is None
    assert models.retire(ServableId("x", 2)) is None
    models.retire(ServableId("m", 1))
    assert refusal(models, "m") == (Code.NOT_FOUND, "Servable not found for request: Latest(m)")
    assert list(models) == []
    models.add(version("m", 1))
    assert resolved(models, "m") == 1


def test_a_version_loaded_again_replaces_the_one_before() -> None:
    models = catalog(("m", 1))
    again = version("m", 1)
    models.add(again)
    assert models.resolve(ModelSpec("m")) is again
    assert models.resolve(ModelSpec("m", 1)) is again


def test_endpoints_are_made_once_for_signatures_that_are() -> None:
    made = version("m", 1)
    assert made.endpoints == []
    endpoint = made.endpoint("other")
    assert made.endpoint("other") is endpoint
    assert endpoint.signature.name == "other"
    assert made.endpoints == [endpoint]
    with pytest.raises(KeyError):
        made.endpoint("none")


def test_status() -> None:
    models = catalog(("m", 3))
    old = VersionStatus(2, State.END, Code.INTERNAL, "broken")
    new = VersionStatus(3, State.AVAILABLE, Code.OK, "")
    models.set_status("m", [new, old])
    assert models.status("m", None) == [new, old]
    assert models.status("m", 2) == [old]
    models.retire(ServableId("m", 3))
    assert models.status("m", None) == [new, old], "a removed model is still reported"
    models.set_status("m", [old])
    assert models.status("m", None) == [old]


def test_status_of_what_never_was() -> None:
    models = catalog()
    models.set_status("m", [VersionStatus(2, State.LOADING, Code.OK, "")])
    for name, number, text in (
        ("x", None, "Could not find any versions of model x"),
        ("x", 1, "Could not find version 1 of model x"),
        ("m", 1, "Could not find version 1 of model m"),
    ):
        with pytest.raises(ServingError) as caught:
            models.status(name, number)
        assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, text)


def test_a_version_is_found_once_it_is_routed() -> None:
    models = catalog(("m", 1))
    models.add(version("m", 2), routed=False)  # loaded, its lanes in the making
    assert models.find(ServableId("m", 2)) is not None
    assert resolved(models, "m") == 1
    assert refusal(models, "m", 2)[0] is Code.NOT_FOUND
    models.route(ServableId("m", 2))
    assert resolved(models, "m") == 2
    models.route(ServableId("m", 3))  # retired before it was routed
    assert resolved(models, "m") == 2
