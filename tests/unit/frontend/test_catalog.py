"""Which version a request gets, and what the status route knows."""

from __future__ import annotations

import pytest
from made_signatures import signature, spec
from worker_side import numbers

from frontend.catalog import Catalog, ModelSpec, Version, VersionStatus
from ringserve.batching_parameters import BatchingParameters
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
    with of.servable_handle(ModelSpec(name, number)) as found:
        assert found.id.name == name
        return found.id.version


def refusal(of: Catalog, name: str, number: int | None = None, label: str | None = None) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        of.servable_handle(ModelSpec(name, number, label))
    return caught.value.code, caught.value.message


def test_a_version_gets_its_batching_parameters() -> None:
    message = {"metadata": {}, "signatures": [signature(spec("x")).to_wire()], "batching": BatchingParameters(3).to_wire()}
    made = Version(ServableId("m", 1), message, lambda _: None)
    assert made.parameters == BatchingParameters(3)
    with pytest.raises(ServingError, match="Task size 4 is larger than maximum input batch size 3"):
        made.endpoint("serving_default").submit([numbers(1, 2, 3, 4)], 0)
    assert version("m", 1).parameters is None
    assert Version(ServableId("m", 1), {**message, "batching": None}, lambda _: None).parameters is None


def test_the_largest_version_is_the_latest() -> None:
    models = catalog(("m", 2), ("m", 10), ("m", 9), ("n", 1))
    assert resolved(models, "m") == 10
    assert resolved(models, "m", 9) == 9
    assert resolved(models, "n") == 1
    models.add(version("m", 3))
    assert resolved(models, "m") == 10
    assert sorted(models.available_servable_ids()) == [("m", 2), ("m", 3), ("m", 9), ("m", 10), ("n", 1)]


def test_not_found() -> None:
    models = catalog(("m", 2))
    assert refusal(models, "x") == (Code.NOT_FOUND, "Servable not found for request: Latest(x)")
    assert refusal(models, "x", 1) == (Code.NOT_FOUND, "Servable not found for request: Specific(x, 1)")
    assert refusal(models, "m", 1) == (Code.NOT_FOUND, "Servable not found for request: Specific(m, 1)")
    assert refusal(Catalog(), "") == (Code.NOT_FOUND, "Servable not found for request: Latest()")


def test_unknown_label() -> None:
    for name in ("m", "unknown"):
        wanted = (Code.INVALID_ARGUMENT, "Unrecognized servable version label: stable")
        models = catalog(("m", 2))
        assert refusal(models, name, label="stable") == wanted
        models.set_labels("m", {"canary": [(2, 1.0)]})
        assert refusal(models, name, label="stable") == wanted
        models.set_labels("m", {})
        assert refusal(models, "m", label="canary")[0] is Code.INVALID_ARGUMENT


def test_labels() -> None:
    models = catalog(("m", 1), ("m", 2), ("n", 1))
    models.set_labels("m", {"stable": [(1, 1.0)], "canary": [(2, 1.0)], "same": [(1, 1.0)], "ahead": [(3, 1.0)]})
    for label, number in (("stable", 1), ("canary", 2), ("same", 1)):
        with models.servable_handle(ModelSpec("m", label=label, key="k")) as found:
            assert found.id == ("m", number)
    not_loaded = (Code.NOT_FOUND, "Servable not found for request: Specific(m, 3)")
    assert refusal(models, "m", label="ahead") == not_loaded
    models.add(version("m", 3), routed=False)
    assert refusal(models, "m", label="ahead") == not_loaded
    models.retire(ServableId("m", 1))
    assert refusal(models, "m", label="stable") == (Code.NOT_FOUND, "Servable not found for request: Specific(m, 1)")


def test_a_label_that_splits_its_requests() -> None:
    models = catalog(("m", 1), ("m", 2))
    models.set_labels("m", {"prod": [(1, 50.0), (2, 50.0)]})

    def picked(key: str | None) -> int:
        with models.servable_handle(ModelSpec("m", label="prod", key=key)) as found:
            return found.id.version

    assert {picked(str(key)) for key in range(64)} == {picked(None) for _ in range(200)} == {1, 2}
    models.retire(ServableId("m", 1))
    assert {picked(str(key)) for key in range(64)} == {2}, "one that is not loaded leaves its share to the others"
    models.retire(ServableId("m", 2))
    code, text = refusal(models, "m", label="prod")
    assert code is Code.NOT_FOUND
    assert text in {f"Servable not found for request: Specific(m, {number})" for number in (1, 2)}


def test_retired_versions_are_not_found() -> None:
    models = catalog(("m", 1), ("m", 2))
    retired = models.retire(ServableId("m", 2))
    assert retired is not None and retired.id == ("m", 2)
    assert resolved(models, "m") == 1
    assert refusal(models, "m", 2)[0] is Code.NOT_FOUND
    assert models.find(ServableId("m", 2)) is retired.servable, "lanes are still opened for those who hold it"
    models.remove(retired)
    models.remove(retired)
    assert models.find(ServableId("m", 2)) is None
    assert models.retire(ServableId("m", 2)) is None
    assert models.retire(ServableId("x", 2)) is None
    models.retire(ServableId("m", 1))
    assert refusal(models, "m") == (Code.NOT_FOUND, "Servable not found for request: Latest(m)")
    assert models.available_servable_ids() == []
    models.add(version("m", 1))
    assert resolved(models, "m") == 1


def test_a_version_loaded_again_replaces_the_one_before() -> None:
    models = catalog(("m", 1))
    before = models.servable_handle(ModelSpec("m"))
    again = version("m", 1)
    models.add(again)
    for spec_ in (ModelSpec("m"), ModelSpec("m", 1)):
        with models.servable_handle(spec_) as found:
            assert found is again
    models.remove(before)
    assert models.find(ServableId("m", 1)) is again
    assert models.loaded(None) == models.loaded(ServableId("m", 1)) == [again]
    assert models.loaded(ServableId("m", 2)) == []


def test_handles_are_counted() -> None:
    models = catalog(("m", 1))
    with models.servable_handle(ModelSpec("m")):
        second = models.servable_handle(ModelSpec("m", 1))
        assert second.holders == 2
    assert second.holders == 1
    second.release()
    assert second.holders == 0
    with pytest.raises(ServingError):
        models.servable_handle(ModelSpec("m", 2))
    assert second.holders == 0


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
    new = VersionStatus(10, State.AVAILABLE, Code.OK, "")
    models.set_status("m", VersionStatus(10, State.LOADING, Code.OK, ""))
    models.set_status("m", old)
    models.set_status("m", new)
    assert models.status("m", None) == [new, old], "the highest first"
    assert models.status("m", 2) == [old]
    models.retire(ServableId("m", 3))
    assert models.status("m", None) == [new, old], "a removed model is still reported"
    models.forget_status("m", [10, 11])
    assert models.status("m", None) == [old]
    models.forget_status("x", [1])


def test_status_of_what_is_not_reported() -> None:
    models = catalog()
    models.set_status("m", VersionStatus(2, State.LOADING, Code.OK, ""))
    models.set_status("n", VersionStatus(2, State.END, Code.OK, ""))
    models.forget_status("n", [2])
    for name, number, text in (
        ("x", None, "Could not find any versions of model x"),
        ("n", None, "Could not find any versions of model n"),
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
