"""What runs and loads of the TensorFlow engine leave behind: nothing; and runs of several threads at once."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tf_runs import ROWS, Load, address_of, aligned, array_of, loads, make_engine, numbers, run

from ringserve.errors import ServingError
from ringserve.options import ServerOptions
from ringserve.signature import DEFAULT_SIGNATURE
from workers.tf.engine import TensorFlowEngine


@pytest.fixture(scope="module")
def engine() -> TensorFlowEngine:
    return make_engine()


@pytest.fixture(scope="module")
def load(engine: TensorFlowEngine, models: Path) -> Iterator[Load]:
    """Loads version 1 of a model, once for all tests here."""
    yield from loads(engine, models)


def failure(call: Callable[[], object]) -> None:
    with pytest.raises(ServingError):
        call()


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("inline", [True, False])
def test_runs_from_several_threads_at_once(load: Load, inline: bool) -> None:
    version = load("half_plus_two")

    def packed(seed: int) -> bool:
        x = np.random.default_rng(seed).random(17, dtype="<f4")
        return bool((array_of(run(version, numbers(x), inline=inline)[0]) == np.float32(0.5) * x + 2).all())

    def in_rows(seed: int) -> bool:
        x = np.random.default_rng(seed).random(17, dtype="<f4")
        y = np.zeros_like(x)
        function = version.row_function(DEFAULT_SIGNATURE, ROWS, inline)
        assert function.run(17, [address_of(x)], [(5, [address_of(y)]), (12, [address_of(y[5:])])])
        return bool((y == np.float32(0.5) * x + 2).all())

    with ThreadPoolExecutor(8) as pool:
        right = [pool.submit(function, seed) for seed in range(200) for function in (packed, in_rows)]
        assert all(future.result(60) for future in right)


def test_a_run_leaves_its_input_alone(load: Load) -> None:
    """Aligned memory is handed over as it is, and x * 0.5 could be done in place: the rows may have to be run again."""
    values = np.arange(1, 1 << 16, dtype="<f4")
    x = aligned(values.nbytes).view("<f4")
    y = np.zeros_like(x)
    x[:] = values
    function = load("half_plus_two").row_function(DEFAULT_SIGNATURE, ROWS, True)
    assert function.run(len(x), [address_of(x)], [(len(y), [address_of(y)])])
    assert (x == values).all()
    assert (y == np.float32(0.5) * values + 2).all()


def test_unload_gives_all_memory_back(engine: TensorFlowEngine, models: Path) -> None:
    """A version without its session or its graph given back would leave some 30 MB here."""
    after_third = 0
    for count in range(1, 31):
        version = engine.load(str(models / "identity" / "1"))
        run(version, numbers(np.zeros((1, 2), dtype="<f4")))
        version.unload()
        if count == 3:
            after_third = resident_bytes()
    assert resident_bytes() - after_third < 4 << 20


def test_loads_that_fail_leave_nothing(models: Path, tmp_path: Path) -> None:
    bad_tag = TensorFlowEngine(ServerOptions(saved_model_tags="nope"))
    after_third = 0
    for count in range(1, 1001):
        failure(lambda: bad_tag.load(str(models / "identity" / "1")))
        if count == 3:
            after_third = resident_bytes()
    assert resident_bytes() - after_third < 4 << 20


def test_runs_leave_nothing(load: Load) -> None:
    """Each of these tensors has 256 KB: one that stayed would show 50 times over."""
    good, bad = numbers(np.ones(1 << 16, dtype="<f4")), numbers(np.full(1 << 16, -1.0, dtype="<f4"))
    version = load("fails_on_negative")
    rows = version.row_function(DEFAULT_SIGNATURE, ROWS, True)
    x, y = np.ones(1 << 16, dtype="<f4"), np.zeros(1 << 16, dtype="<f4")
    before = 0
    for count in range(60):
        run(version, good)
        failure(lambda: run(version, bad))
        assert rows.run(len(x), [address_of(x)], [(len(y), [address_of(y)])])
        if count == 9:
            before = resident_bytes()
    assert resident_bytes() - before < 4 << 20
