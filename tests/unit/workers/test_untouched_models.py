"""Loading a model, with its probe and its warm-up, leaves it as it was exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tf_runs import FLOAT, array_of, floats, numbers, run

from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import Column
from workers.engine import LoadedVersion
from workers.platforms import Platforms
from workers.probe import CHANGES_STATE, Report
from workers.versions import Versions
from workers.warm_up import WarmUp

LEFT_ALONE = Report(None, False, CHANGES_STATE)


class Loads:
    """Loads models as a worker does, with the warm-up on."""

    def __init__(self, models: Path) -> None:
        options = ServerOptions()
        self.versions = Versions(Platforms(options), options)
        self._models = models
        self._loaded: list[ServableId] = []

    def __call__(self, name: str) -> tuple[LoadedVersion, WarmUp]:
        servable = ServableId(name, 1)
        self._loaded.append(servable)
        return self.versions.load(servable, str(self._models / name / "1"), "tensorflow", {})

    def declared(self, name: str, signature: str = DEFAULT_SIGNATURE) -> Report:
        return self.versions.declared(ServableId(name, 1), signature)

    def unload(self) -> None:
        for servable in self._loaded:
            self.versions.unload(servable)


@pytest.fixture(name="load")
def _load(models: Path) -> Iterator[Loads]:
    loads = Loads(models)
    yield loads
    loads.unload()


def left_out(signature: str) -> str:
    return f"signature {signature}: left out, as {CHANGES_STATE}"


def test_a_counter_stands_at_nothing(load: Loads) -> None:
    version, warmed = load("stateful_counter")
    assert (warmed.requests, warmed.notes) == (0, (left_out(DEFAULT_SIGNATURE),))
    assert load.declared("stateful_counter") == LEFT_ALONE
    assert [array_of(run(version, floats(0.0, 0.0))[0]).tolist() for _ in range(2)] == [[1, 1], [2, 2]]


def test_rows_of_a_form_that_requests_have_are_not_tried_either(load: Loads) -> None:
    version, _ = load("stateful_counter")
    seen = ((FLOAT, Column("<f4", (3,))),)
    assert load.versions.report(ServableId("stateful_counter", 1), DEFAULT_SIGNATURE, seen) == LEFT_ALONE
    assert array_of(run(version, floats(0.0))[0]).tolist() == [1]


def test_training_waits_for_a_client_and_predicting_does_not(load: Loads) -> None:
    version, warmed = load("trains")
    assert warmed.notes == (left_out("train"),)
    assert warmed.requests > 0
    assert load.declared("trains").batched
    assert load.declared("trains", "train") == LEFT_ALONE
    assert array_of(run(version, floats(3.0))[0]).tolist() == [3.0]
    run(version, floats(1.0), floats(2.0), signature="train")
    assert array_of(run(version, floats(1.0))[0]).tolist() == [pytest.approx(1.2)]


def test_an_assignment_in_a_branchs_function_is_seen(load: Loads) -> None:
    """The made-up rows are positive: they would have been kept."""
    version, warmed = load("keeps_positive")
    assert warmed.notes == (left_out(DEFAULT_SIGNATURE),)
    before = [array_of(run(version, floats(value))[-1]).tolist() for value in (5.0, -1.0, 6.0)]
    assert before == [[], [5.0], [5.0]]


def test_a_table_that_is_read_is_read_in_batches_and_one_that_is_filled_is_not_filled(load: Loads) -> None:
    version, warmed = load("table")
    assert warmed.notes == (left_out("put"),)
    assert load.declared("table").batched
    assert int(array_of(run(version, signature="size")[0])) == 0
    keys = numbers(np.array([7, 8]), "int64")
    run(version, keys, floats(1.0, 2.0), signature="put")
    assert array_of(run(version, keys)[0]).tolist() == [1.0, 2.0]
