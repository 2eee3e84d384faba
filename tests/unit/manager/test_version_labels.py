"""Labels and the versions they may be put on: upstream's table, and the same for splits."""

from __future__ import annotations

import pytest

from manager.model_config import ModelConfig, Weighted
from manager.version_labels import Routing, check_labels
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

NOWHERE: Routing = {}
ON_ONE: Routing = {"m": {"stable": [(1, 1.0)]}}
SPLIT: Routing = {"m": {"stable": [(1, 90.0), (2, 10.0)]}}


def refused(models: list[ModelConfig], present: Routing, available: set[int], allow: bool) -> str | None:
    def is_available(servable: ServableId) -> bool:
        return servable.name == "m" and servable.version in available

    try:
        check_labels(models, present, is_available, allow)
    except ServingError as error:
        assert error.code is Code.FAILED_PRECONDITION
        return error.message
    return None


def text(version: int) -> str:
    return f"Request to assign label to version {version} of model m, which is not currently available for inference"


def labelled(version: int) -> list[ModelConfig]:
    return [ModelConfig("m", "/m", labels={"stable": version})]


def split(*versions: Weighted) -> list[ModelConfig]:
    return [ModelConfig("m", "/m", splits={"stable": versions})]


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize("present", [NOWHERE, ON_ONE, {"m": {"stable": [(2, 1.0)]}}])
def test_an_available_version_may_have_any_label(present: Routing, allow: bool) -> None:
    assert refused(labelled(1), present, {1}, allow) is None


@pytest.mark.parametrize(
    ("present", "version", "allow", "fine"),
    [
        pytest.param(NOWHERE, 1, False, False, id="a new label"),
        pytest.param(ON_ONE, 1, False, False, id="a label that stays"),
        pytest.param(ON_ONE, 2, False, False, id="a label that moves"),
        pytest.param(NOWHERE, 1, True, True, id="a new label, allowed"),
        pytest.param(ON_ONE, 1, True, True, id="a label that stays, allowed"),
        pytest.param(ON_ONE, 2, True, False, id="a label that moves, however allowed"),
        pytest.param({"other": {"stable": [(1, 1.0)]}}, 2, True, True, id="another model's label of that name"),
        pytest.param({"m": {"canary": [(1, 1.0)]}}, 2, True, True, id="another label of the model"),
        pytest.param(SPLIT, 2, True, True, id="a split that ends on one of its versions"),
        pytest.param(SPLIT, 3, True, False, id="a split that ends on another"),
    ],
)
def test_a_version_that_is_not_available(present: Routing, version: int, allow: bool, fine: bool) -> None:
    assert refused(labelled(version), present, set(), allow) == (None if fine else text(version))


@pytest.mark.parametrize(
    ("versions", "present", "available", "allow", "wrong"),
    [
        pytest.param([(1, 95.0), (2, 5.0)], NOWHERE, {1, 2}, False, None, id="all are there"),
        pytest.param([(1, 95.0), (2, 5.0)], NOWHERE, {1}, False, 2, id="every version that gets requests counts"),
        pytest.param([(1, 95.0), (2, 0.0)], NOWHERE, {1}, False, None, id="one that gets none does not"),
        pytest.param([(1, 95.0), (2, 5.0)], ON_ONE, {1}, True, 2, id="to widen is to move"),
        pytest.param([(1, 95.0), (2, 5.0)], NOWHERE, set(), True, None, id="a new label, allowed"),
        pytest.param([(1, 50.0), (2, 50.0)], SPLIT, set(), True, None, id="the same versions with other weights, allowed"),
        pytest.param([(1, 50.0), (2, 50.0)], SPLIT, {1}, False, 2, id="and not"),
    ],
)
def test_splits(versions: list[Weighted], present: Routing, available: set[int], allow: bool, wrong: int | None) -> None:
    assert refused(split(*versions), present, available, allow) == (wrong and text(wrong))


def test_the_first_one_that_cannot_be_is_named() -> None:
    models = [
        ModelConfig("m", "/m", labels={"a": 1, "b": 7, "c": 8}),
        ModelConfig("n", "/n", labels={"a": 9}),
    ]
    assert refused(models, NOWHERE, {1}, False) == text(7)


def test_a_shadow_may_be_on_its_way() -> None:
    assert refused([ModelConfig("m", "/m", shadows=((2, 0.5),))], NOWHERE, set(), False) is None
