"""The pure parts of the topologies about the life of servables, and what they have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import deep_models, exported_model, load_isolation, many_models, new_version, reload_memory
from bench.deep_models import deep_model
from bench.half_plus_two import predict
from bench.histogram import Histogram
from bench.http_generator import Tally
from bench.load import Load
from bench.new_version import load_seconds
from bench.phased_load import PhaseLoads, by_phase
from bench.reload_memory import curve, settled
from bench.served_models import serve_command, write_config
from bench.topology import Row
from ringserve.flags import parse


def load(p99: float, errors: int = 0, requests: int = 100, longest: float = math.nan) -> Load:
    return Load(requests, 1.0, p99 / 2, p99, errors, longest)


def isolation_rows(full: bool) -> dict[str, Row]:
    return load_isolation._rows("t", full)


def test_phases_are_compared_with_the_steady_one() -> None:
    rows = isolation_rows(full=False)
    whole = {"warm": load(9), "steady": load(2, longest=4), "loading": load(2.2, longest=8), "switching": load(3, longest=6)}
    load_isolation.add(rows, PhaseLoads(whole, {"loading": load(2.3), "switching": load(2.6)}))
    assert {name: row.best_ratio for name, row in rows.items() if name != "failed"} == pytest.approx(
        {
            **{"loading busy": 1.15, "loading": 1.1, "loading longest": 2.0},
            **{"switching busy": 1.3, "switching": 1.5, "switching longest": 1.5},
        }
    )
    verdicts = {name: [row.met(goal) for goal in row.goals] for name, row in rows.items() if row.goals}
    assert verdicts == {"failed": [True], "loading busy": [True], "switching busy": [False]}


def test_a_failed_request_of_any_phase_counts() -> None:
    rows = isolation_rows(full=False)
    whole = {"warm": load(2, errors=1), "steady": load(2), "loading": load(2, errors=2), "switching": load(2)}
    load_isolation.add(rows, PhaseLoads(whole, {"loading": load(2, errors=2), "switching": load(2)}))
    assert rows["failed"].figures == [3]
    assert rows["failed"].met(rows["failed"].goals[0]) is False
    assert rows["loading busy"].met(rows["loading busy"].goals[0]) is False
    assert rows["switching busy"].met(rows["switching busy"].goals[0]) is True
    assert "3 ERRORS" in load_isolation.line(PhaseLoads(whole, {}))


def test_at_full_load_busy_times_are_not_told_apart() -> None:
    rows = isolation_rows(full=True)
    load_isolation.add(rows, PhaseLoads({name: load(2) for name in ("steady", "loading", "switching")}, {}))
    assert all(len(row.figures) == 1 for row in rows.values())


def test_a_phase_without_answers_can_not_be_judged() -> None:
    whole = {"steady": load(2), "loading": load(2, errors=5, requests=0), "switching": load(2)}
    with pytest.raises(RuntimeError, match="phase loading, 5 were not"):
        load_isolation.add(isolation_rows(full=False), PhaseLoads(whole, {}))


def test_a_phase_is_the_sum_of_its_parts() -> None:
    def tally(milliseconds: list[int], seconds: float, errors: int = 0) -> dict[str, object]:
        latencies = Histogram()
        latencies.record([value * 1_000_000 for value in milliseconds])
        return Tally(len(milliseconds), errors, seconds, latencies).to_wire()

    loads = by_phase(
        {"a": tally([1, 2], 2.0), "a busy": tally([8, 9], 1.0, 1), "b": tally([], 0.5), "c busy": tally([3], 1.0)}
    )
    assert set(loads.whole) == {"a", "b", "c"}
    assert set(loads.busy) == {"a", "c"}
    assert (loads.whole["a"].requests, loads.whole["a"].seconds, loads.whole["a"].errors) == (4, 3.0, 1)
    assert loads.whole["a"].p50 == pytest.approx(2, rel=0.01)
    assert loads.whole["a"].longest == pytest.approx(9, rel=0.01)
    assert loads.busy["a"].p50 == pytest.approx(8, rel=0.01)
    assert math.isnan(loads.whole["b"].p99)


def test_the_log_says_how_long_a_version_was_loading() -> None:
    lines = [
        "INFO supervisor: loading servable version {name: m version: 1}",
        "INFO worker cpu:0: loaded servable version {name: m version: 1} in 0.25 s",
        "INFO worker cpu:1: loaded servable version {name: m version: 1} in 0.50 s",
        "INFO worker cpu:0: loaded servable version {name: m version: 12} in 9.00 s",
        "INFO supervisor: loaded m/1 on cpu:0 in 4.23 s",
    ]
    assert load_seconds("\n".join(lines), 1) == 0.5
    with pytest.raises(RuntimeError, match="version 2 was loading"):
        load_seconds("\n".join(lines), 2)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def readings(*values: float) -> Callable[[], dict[str, float]]:
    left = list(values)
    return lambda: {"worker": left.pop(0) if len(left) > 1 else left[0], "frontend": 50.0}


def test_memory_is_read_once_it_has_settled() -> None:
    clock = Clock()
    assert settled(readings(200, 150, 101, 100.9, 50), clock, clock.sleep)["worker"] == 100.9
    assert clock.now == pytest.approx(0.3)


def test_memory_that_never_settles_is_read_after_a_while() -> None:
    clock = Clock()
    found = settled(readings(*range(100, 200)), clock, clock.sleep)
    assert 105 <= found["worker"] <= 115
    assert clock.now == pytest.approx(1.0, abs=0.11)


def test_a_curve_is_told_in_short() -> None:
    assert curve([1.0]) == "1: 1.0"
    words = curve([float(number) for number in range(1, 101)])
    assert words.startswith("1: 1.0 10: 10.0 19: 19.0")
    assert words.endswith(" 100: 100.0")


def test_servers_read_the_config_file(tmp_path: Path) -> None:
    bases = [tmp_path / "a", tmp_path / "b"]
    command = serve_command(write_config(tmp_path / "models.config", bases, "all {}"), 1234)
    options = parse(command[command.index("serve") + 1 :]).options
    options.validate()
    assert options.rest_api_port == 1234
    text = Path(options.model_config_file).read_text()
    for base in bases:
        assert f'name: "{base.name}" base_path: "{base}"' in text
    assert text.count("model_version_policy { all {} }") == 2


def test_a_model_may_be_asked_for_a_version() -> None:
    assert predict(80).path == "/v1/models/half_plus_two:predict"
    assert predict(80, "m", 3).path == "/v1/models/m/versions/3:predict"


def test_a_deep_model_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def export(name: str, _: str, arguments: list[str]) -> None:
        made.append(name)
        folder = Path(arguments[-1])
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(b"graph")

    monkeypatch.setattr(exported_model, "_export", export)
    folder = deep_model("resnet50", tmp_path)
    assert deep_model("resnet50", tmp_path) == folder
    assert made == ["resnet50"]
    assert [entry.name for entry in folder.iterdir()] == ["saved_model.pb"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["1"]


def test_a_deep_model_that_can_not_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_models, "_EXPORT", "raise SystemExit('no keras')")
    with pytest.raises(RuntimeError, match="resnet50 could not be exported: no keras"):
        deep_model("resnet50", tmp_path)
    assert not list((tmp_path / "resnet50").iterdir())


def test_only_what_has_goals_is_measured_unasked() -> None:
    modules = (load_isolation, many_models, new_version, reload_memory)
    topologies = {topology.name: topology for module in modules for topology in module.TOPOLOGIES}
    assert [name for name, topology in topologies.items() if not topology.long] == ["load-isolation"]
