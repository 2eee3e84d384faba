"""Labels and shadows of a running server: when they take effect, and what front ends are told."""

from __future__ import annotations

import pytest
from core_rig import Rig, config, label, model
from fake_loader import settle
from stage import run

from ringserve.errors import Code, ServingError

SPLIT = "label_splits { label: 'prod' versions { version: 1 weight: 95 } versions { version: 2 weight: 5 } }"
SHADOW = "shadows { version: 2 sampling_rate: 0.5 }"


async def rig_with(*versions: int, more: str = "", allow: bool = False) -> Rig:
    rig = Rig(allow_version_labels_for_unavailable_models=allow)
    rig.start(model("m", more))
    rig.source("m").emit(*versions)
    await settle()
    return rig


async def is_refused(rig: Rig, more: str) -> bool:
    try:
        await rig.core.reload(config(model("m", more)))
    except ServingError as error:
        assert error.code is Code.FAILED_PRECONDITION
        return True
    return False


def test_promotion_step_by_step() -> None:
    async def work() -> None:
        rig = await rig_with(1)
        assert not await is_refused(rig, label("stable", 1))
        assert await is_refused(rig, label("stable", 2)), "not there yet"
        rig.source("m").emit(1, 2)
        await settle()
        assert not await is_refused(rig, label("stable", 2) + label("old", 1))
        assert rig.serving.labels == {"m": {"stable": [(2, 1.0)], "old": [(1, 1.0)]}}
        rig.source("m").emit(2)
        await settle()
        assert rig.serving.labels["m"]["old"] == [(1, 1.0)], "labels are not revoked when their version goes"
        assert await is_refused(rig, label("stable", 2) + label("old", 1)), "but looked at with every reload"
        assert not await is_refused(rig, label("stable", 2))
        assert rig.serving.labels == {"m": {"stable": [(2, 1.0)]}}

    run(work())


def test_labels_of_what_is_not_there_when_they_are_allowed() -> None:
    async def work() -> None:
        rig = await rig_with(1, more=label("next", 2), allow=True)
        assert rig.serving.labels == {"m": {"next": [(2, 1.0)]}}
        assert not await is_refused(rig, label("next", 2)), "it stays where it is"
        assert await is_refused(rig, label("next", 3)), "requests with the label may have an answer now"
        assert not await is_refused(rig, "")
        assert not await is_refused(rig, label("next", 3)), "a label that was dropped is a new one"

    run(work())


def test_front_ends_are_told_of_routing_when_it_changes() -> None:
    async def work() -> None:
        rig = await rig_with(1, 2)
        assert rig.told.of("routing") == []
        for _ in range(2):
            await rig.core.reload(config(model("m", SPLIT + SHADOW + label("stable", 1))))
        first = {
            "type": "routing",
            "model": "m",
            "labels": {"stable": [(1, 1.0)], "prod": [(1, 95.0), (2, 5.0)]},
            "shadows": [(2, 0.5)],
        }
        assert rig.told.of("routing") == [first]
        await rig.core.reload(config())
        assert rig.told.of("routing")[1:] == [{**first, "labels": {}, "shadows": []}]
        assert rig.serving.labels == {}, "nothing is kept of a model that has gone"

    run(work())


def test_routing_is_there_before_the_versions_are() -> None:
    async def work() -> None:
        rig = await rig_with(1, more=label("next", 1), allow=True)
        kinds = [message["type"] for message in rig.told.messages]
        assert kinds.index("routing") < kinds.index("status")

    run(work())


@pytest.mark.parametrize("version", [1, 2])
def test_a_shadow_need_not_be_available(version: int) -> None:
    async def work() -> None:
        rig = await rig_with(1)
        assert not await is_refused(rig, f"shadows {{ version: {version} sampling_rate: 1 }}")
        assert rig.told.of("routing")[-1]["shadows"] == [(version, 1.0)]

    run(work())
