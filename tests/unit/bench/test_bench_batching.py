"""The batching topologies' parts: models, servers in several modes, the floor in process, and the rows."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import batching_modes, exported_model
from bench.asked_rows import AskedRows
from bench.batch_models import DIGITS_CNN, RESNET, fixed_cost, halves, image_network
from bench.batch_runs import BatchRuns, best_size
from bench.batching_servers import PARAMETERS
from bench.floor_process import batch_runs
from bench.load import Load
from bench.mode_comparison import Comparison, ModeComparison, add_repetition
from bench.topology import Row, Settings
from workers.engine import Target


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({1: 10, 2: 19, 4: 35, 8: 30, 16: 34}, 4),
        ({1: 100, 2: 90, 4: 200, 8: 190, 16: 210, 32: 200, 64: 200}, 16),
        ({1: 10, 2: 10, 4: 10}, 1),
        ({1: 1.5, 2: 1.9}, 2),
        ({1: 0.5}, 1),
        ({2**power: 2.0**power * 1000 for power in range(9)}, 256),
    ],
)
def test_the_best_size_of_batch_is_found(rates: Mapping[int, float], best: int) -> None:
    """And no size is tried beyond the last one."""
    asked: list[int] = []

    def rate(size: int) -> float:
        asked.append(size)
        return rates[size]

    assert best_size(rate) == best
    assert asked == list(rates)


class Halving:
    """A function of y = 0.5 x + 2, wrong in a batch of this size."""

    def __init__(self, wrong: int = 0) -> None:
        self._wrong = wrong
        self.sizes: list[int] = []

    def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        self.sizes.append(rows)
        x = np.ctypeslib.as_array(ctypes.cast(sources[0], ctypes.POINTER(ctypes.c_float)), (rows,))
        ((count, (address,)),) = targets
        assert count == rows
        assert sources[0] % 64 == address % 64 == 0  # as in a lane
        y = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (rows,))
        y[:] = x / 2 + (3 if rows == self._wrong else 2)
        return True


def test_batches_are_run_and_looked_at() -> None:
    numbers = np.arange(1, 4, dtype=np.float32)
    rows = AskedRows("m", "x", numbers, (numbers / 2 + 2).reshape(-1, 1).astype(np.float32))
    function = Halving(wrong=4)
    runs = BatchRuns(function, rows)
    assert runs.rate(256, 0.0) > 0
    assert function.sizes == [256]
    assert runs.rate(2, 0.001) > 0
    with pytest.raises(RuntimeError, match="a wrong answer in a batch of 4"):
        runs.rate(4, 0.0)


def test_the_engine_runs_batches_in_a_process(tmp_path: Path, models: Path) -> None:
    file = halves().write(tmp_path / "rows.npz")
    with batch_runs(models / "half_plus_two", file, 0.002) as (run, size):
        assert size in {1 << power for power in range(9)}
        assert run(0.01) > size


@pytest.mark.parametrize("name", [DIGITS_CNN, RESNET])
def test_networks_come_with_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def export(_: str, script: str, arguments: list[str]) -> None:
        compile(script, "script", "exec")
        model, samples, folder = arguments
        file = Path(folder) / samples
        file.parent.mkdir(parents=True)
        AskedRows(model, "image", np.zeros((2, 1), np.uint8), np.arange(2, dtype=np.float32).reshape(2, 1)).write(file)

    monkeypatch.setattr(exported_model, "_export", export)
    base, rows = image_network(name, tmp_path)
    assert base == tmp_path / name
    assert rows.model == name


def test_the_model_of_a_fixed_cost_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def export(_: str, script: str, arguments: list[str]) -> None:
        compile(script, "script", "exec")
        asked.append(arguments[:-1])
        Path(arguments[-1]).mkdir()

    monkeypatch.setattr(exported_model, "_export", export)
    for _ in range(2):
        base, rows = fixed_cost(tmp_path)
        assert base == tmp_path / rows.model
    assert asked == [["250"]]


def comparison(base: Path, modes: Mapping[str, Sequence[str]]) -> ModeComparison:
    compared = (
        Comparison("adaptive", "off", p50_limits={1: 1.05}),
        Comparison("static", "off", ("throughput",)),
        Comparison("adaptive", "static", ("p50",), {1: 1.1, 8: 1.2}),
    )
    parameters = "max_batch_size { value: 8 }"
    return ModeComparison("b", lambda _: (base, halves()), modes, compared, (1, 8), 0.5, parameters)


def test_rows_say_what_is_compared(tmp_path: Path) -> None:
    rows = comparison(tmp_path, {}).rows()
    assert [(row.measure, row.floor_name, [goal.limit for goal in row.goals]) for row in rows.values()] == [
        ("c1 adaptive throughput", "off", []),
        ("c1 adaptive p50", "off", [1.05]),
        ("c1 adaptive p99", "off", []),
        ("c1 static throughput", "off", []),
        ("c1 adaptive p50", "static", [1.1]),
        ("c8 adaptive throughput", "off", []),
        ("c8 adaptive p50", "off", []),
        ("c8 adaptive p99", "off", []),
        ("c8 static throughput", "off", []),
        ("c8 adaptive p50", "static", [1.2]),
    ]
    add_repetition(
        rows,
        8,
        {"off": Load(100, 1, 2.0, 4.0, 0), "adaptive": Load(300, 1, 1.0, 3.0, 2), "static": Load(200, 1, 4.0, 5.0, 0)},
    )
    assert [row.best_ratio for row in rows.values()] == [None] * 5 + [3.0, 0.5, 0.75, 2.0, 0.25]
    assert [row.errors for row in rows.values()] == [0] * 5 + [2, 2, 2, 0, 2]
    assert rows[8, "adaptive", "static", "p50"].met(rows[8, "adaptive", "static", "p50"].goals[0]) is False
    broken = dict.fromkeys(("adaptive", "static"), Load(1, 1, 1.0, 1.0, 0)) | {"off": Load(1, 1, 1.0, 1.0, 7)}
    with pytest.raises(RuntimeError, match="7 requests failed with off"):
        add_repetition(rows, 1, broken)


def test_servers_in_several_modes_are_asked_in_turn(tmp_path: Path, models: Path) -> None:
    """Version 1 alone: what the benchmark serves."""
    base = tmp_path / "half_plus_two"
    base.mkdir()
    (base / "1").symlink_to(models / "half_plus_two" / "1")
    modes = {"off": ("--batching=off",), "adaptive": (), "static": ("--enable_batching", PARAMETERS)}
    said: list[str] = []
    rows: list[Row] = []
    comparison(base, modes).measure(Settings(base, repeat=2, seconds=0.1, say=said.append), rows)
    assert [line.partition(":")[0] for line in said] == ["c1", "c1", "c8", "c8"]
    for row in rows:
        assert row.errors == 0
        assert len(row.figures) == len(row.floors) == 2
        assert min(row.figures) > 0


@pytest.mark.parametrize("name", ["_SMALL", "_MEDIUM", "_LARGE", "_LINGER"])
def test_modes_that_are_compared_are_there(name: str) -> None:
    found: ModeComparison = getattr(batching_modes, name)
    for each in found.comparisons:
        assert {each.mode, each.floor} <= set(found.modes)
        assert set(each.p50_limits) <= set(found.clients)
    assert any(PARAMETERS in flags for flags in found.modes.values()) is bool(found.parameters)
    for flags in found.modes.values():
        assert all(flag.startswith("--") for flag in flags)
