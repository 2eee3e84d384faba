"""`bench compare`: which files it reads, what it pairs, what it calls a regression, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_outcomes import steady

from bench.harness.compare import main
from bench.harness.compared_file import Compared, read_compared
from bench.harness.comparison import Judge, compare
from bench.harness.outcome import Outcome
from bench.harness.plan import Closed
from bench.harness.results import ResultsError, write_json_lines
from bench.report import Report
from bench.topology import Row

Capture = pytest.CaptureFixture[str]
Better = Literal["higher", "lower"]

FIGURES = (100.0, 101.0, 99.0, 100.5, 98.5)
FLOORS = (200.0, 202.0, 198.0, 201.0, 197.0)


def row(better: Better = "higher", scale: float = 1.0, floor: float = 0.0, **fields: Any) -> Row:
    """Figures about 100 times the scale, beside floors of 200 times `floor`."""
    unit = {"higher": "req/s", "lower": "ms"}[better]
    made = Row("rest-c1", {"higher": "throughput", "lower": "p50"}[better], unit, better, "echo" if floor else "")
    for figure, beside in zip(FIGURES, FLOORS, strict=True):
        made.add(figure * scale, beside * floor if floor else None)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def report(path: Path, *rows: Row, complete: bool = True, **about: Any) -> Path:
    failures = about.pop("failures", {})
    Report(about, list(rows), failures, complete).write(path)
    return path


def pair(tmp_path: Path, before: Row | list[Row], after: Row | list[Row]) -> list[str]:
    """Arguments for two reports."""
    sides = [each if isinstance(each, list) else [each] for each in (before, after)]
    return [str(report(tmp_path / name, *rows)) for name, rows in zip(("a.json", "b.json"), sides, strict=True)]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_loss_of_a_fifth_is_a_regression_and_a_gain_is_none(better: Better, tmp_path: Path, capsys: Capture) -> None:
    worse, best = (0.8, 1.25) if better == "higher" else (1.25, 0.8)
    assert main(pair(tmp_path, row(better), row(better, worse))) == 1
    out = capsys.readouterr().out
    assert "REGRESSION" in out
    assert f"{worse:.3f}x" in out
    assert "1 measures, 1 worse by more than 5 %." in out
    assert main(pair(tmp_path, row(better), row(better, best))) == 0
    assert " better" in capsys.readouterr().out
    assert main([*pair(tmp_path, row(better), row(better, worse)), "--limit", "30%"]) == 0


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=8), st.sampled_from(["higher", "lower"]), st.floats(0, 0.5))
def test_nothing_has_become_worse_than_itself(
    tmp_path_factory: pytest.TempPathFactory, figures: list[float], better: Better, limit: float
) -> None:
    path = report(tmp_path_factory.mktemp("same") / "a.json", row(better, figures=figures, floors=figures[::-1]))
    for beside_floor in (False, True):
        found = compare(read_compared(path), read_compared(path), Judge(limit, 0.95, beside_floor))
        assert [each.verdict for each in found.pairs] in (["same"], ["unclear"])
        assert not found.regressed


@given(st.floats(0.001, 1000), st.floats(0.5, 2))
def test_the_verdict_has_no_scale(tmp_path_factory: pytest.TempPathFactory, scale: float, change: float) -> None:
    folder = tmp_path_factory.mktemp("scaled")

    def verdict(scale: float) -> str:
        before, after = (read_compared(report(folder / "a.json", row(scale=scale * each))) for each in (1.0, change))
        return compare(before, after, Judge()).pairs[0].verdict

    assert verdict(scale) == verdict(1.0)


def test_noise_is_no_regression(tmp_path: Path, capsys: Capture) -> None:
    assert main(pair(tmp_path, row(figures=[100.0, 140.0, 80.0]), row(figures=[90.0, 70.0, 130.0]))) == 0
    assert "unclear" in capsys.readouterr().out
    assert main(pair(tmp_path, row(figures=[100.0]), row(figures=[50.0]))) == 0
    assert "too few" in capsys.readouterr().out


def test_a_machine_that_is_slower_as_a_whole(tmp_path: Path, capsys: Capture) -> None:
    files = pair(tmp_path, row(floor=1.0), row(scale=0.5, floor=0.5))
    assert main(files) == 1
    out = capsys.readouterr().out
    assert "0.500x" in out
    assert "1.000x" in out
    assert main([*files, "--beside_floor"]) == 0
    assert main([*pair(tmp_path, row(floor=1.0), row(floor=2.0)), "--beside_floor"]) == 1


def test_ratios_beside_different_floors_are_not_compared(tmp_path: Path) -> None:
    files = [Path(each) for each in pair(tmp_path, row(floor=1.0), row(floor=1.0, floor_name="grpcio"))]
    found = compare(read_compared(files[0]), read_compared(files[1]), Judge(beside_floor=True)).pairs[0]
    assert found.beside_floor is None
    assert found.verdict == "same"


def test_measures_that_are_there_several_times_are_paired_in_their_order(tmp_path: Path) -> None:
    files = pair(tmp_path, [row(floor=1.0), row(scale=3.0)], [row(floor=1.0), row(scale=3.0)])
    before, after = (read_compared(Path(each)) for each in files)
    found = compare(before, after, Judge())
    assert [each.ratio.value for each in found.pairs if each.ratio] == pytest.approx([1, 1])


def test_new_errors_are_worse_than_any_figure(tmp_path: Path, capsys: Capture) -> None:
    assert main(pair(tmp_path, row(), row(scale=1.5, errors=3))) == 1
    assert "ERRORS (3 errors, 0 before)" in capsys.readouterr().out
    assert main(pair(tmp_path, row(errors=1), row(errors=3))) == 0


def test_what_only_one_file_has_is_named(tmp_path: Path, capsys: Capture) -> None:
    before = report(tmp_path / "a.json", row(), row("lower"), row(topology="start"))
    after = report(tmp_path / "b.json", row(), row(topology="new"), failures={"start": "no port"}, complete=False)
    assert main([str(before), str(after)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "only in the first file: rest-c1: p50",
        "only in the first file: start: throughput (the other: no port)",
        "only in the second file: new: throughput",
        "the second file's run was interrupted",
    ):
        assert line in lines


def test_what_can_not_be_compared_is_named(tmp_path: Path, capsys: Capture) -> None:
    before = report(tmp_path / "a.json", row(), row("lower", generator="wrk"), machine={"cpus": 2, "load_before": 1})
    after = report(tmp_path / "b.json", row(), row("lower", generator="own"), machine={"cpus": 4, "load_before": 2})
    assert main([str(before), str(after)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "not compared: rest-c1, p50: generator wrk in the first file, own in the second" in lines
    assert "not the same machine: cpus 2 in the first file, 4 in the second" in lines
    assert not any("load_before" in line for line in lines)


def test_many_measures_may_seem_worse_by_chance(tmp_path: Path, capsys: Capture) -> None:
    rows = [[row(topology=f"t{number}", scale=scale) for number in range(60)] for scale in (1.0, 0.5)]
    assert main(pair(tmp_path, rows[0], rows[1])) == 1
    assert "60 measures, 60 worse by more than 5 %. Among so many, up to 2 can seem so by chance" in capsys.readouterr().out


def outcomes(path: Path, *made: Outcome) -> Path:
    write_json_lines(made, path)
    return path


def verdicts(before: Path, after: Path) -> dict[str, str]:
    return {
        pair.before.measure: pair.verdict for pair in compare(read_compared(before), read_compared(after), Judge()).pairs
    }


def test_outcomes_are_compared_by_their_windows(tmp_path: Path) -> None:
    before = outcomes(tmp_path / "a", steady(1000, 2.0, 10))
    again = verdicts(before, outcomes(tmp_path / "b", steady(1000, 2.0, 10, seed=1)))
    assert (again["throughput"], again["p50"]) == ("same", "same")
    assert "regression" not in again.values()
    slower = outcomes(tmp_path / "c", steady(800, 2.5, 10, seed=2, about={"url": "http://elsewhere:1"}))
    assert verdicts(before, slower) == dict.fromkeys(("throughput", "p50", "p90", "p99"), "regression")
    assert set(verdicts(slower, before).values()) == {"better"}


def test_outcomes_are_paired_by_what_was_asked(tmp_path: Path, capsys: Capture) -> None:
    before = outcomes(tmp_path / "a", steady(100, 1.0), steady(100, 1.0, shape=Closed(1)))
    after = outcomes(tmp_path / "b", steady(100, 1.0, seed=1), steady(100, 1.0, about={"url": "grpc://127.0.0.1:8500"}))
    assert main([str(before), str(after), "--limit", "50%"]) == 0
    out = capsys.readouterr().out
    assert "4 measures, 0 worse" in out
    assert out.startswith("http, api tfs, model half_plus_two, rows 1\n")
    assert "\n8 clients" in out
    assert f"only in the first file: http, api tfs, model half_plus_two, rows 1, {Closed(1)}: throughput, p50" in out
    assert "only in the second file: grpc, api tfs" in out


def test_a_window_that_was_cut_short_is_no_loss(tmp_path: Path) -> None:
    before = steady(1000, 1.0, 6)
    after = steady(1000, 1.0, 6)
    after.windows.append(steady(40, 1.0, 1).windows[0])
    after.seconds = 6.04
    found = [read_compared(outcomes(tmp_path / "a", each)).measures for each in (before, after)]
    assert [each.figures for each in found[0].values()] == [each.figures for each in found[1].values()]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "holds no results"),
        ("no\n", "line 1: not JSON"),
        ('{"results": 3}', "not a report of topologies: results is not a list"),
        ('{"results": [{}]}', "results[0].topology is missing"),
        (json.dumps({"results": [{**row().to_json(), "better": "more"}]}), "results[0].better is neither higher nor lower"),
        (json.dumps({"results": [{**row().to_json(), "figures": ["1"]}]}), "its figures are not numbers"),
        (json.dumps({"results": [{**row().to_json(), "floor": {"name": "a"}}]}), "results[0].floor.figures is missing"),
        (json.dumps({"results": []}), "no measure in common"),
        ("[" * 100_000, "maximum recursion depth"),
    ],
)
def test_files_that_are_no_results_are_refused(content: str, reason: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bad"
    path.write_text(content)
    assert main([str(path), str(path)]) == 2
    found = capsys.readouterr()
    assert reason in found.err
    assert found.out == ""


def test_two_kinds_of_files_can_not_be_compared(tmp_path: Path, capsys: Capture) -> None:
    files = report(tmp_path / "a.json", row()), outcomes(tmp_path / "b.jsonl", steady(10, 1.0))
    assert main([str(each) for each in files]) == 2
    assert "the first file is a file of topologies, the second one of outcomes" in capsys.readouterr().err
    with pytest.raises(ResultsError, match="No such file"):
        read_compared(tmp_path / "none")


@pytest.mark.parametrize("arguments", [["--limit", "100%"], ["--limit", "-1"], ["--confidence", "0"], ["--confidence", "x"]])
def test_shares_that_are_none_are_refused(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["a", "b", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_figures_without_a_value_are_left_out(tmp_path: Path) -> None:
    found: Compared = read_compared(report(tmp_path / "a.json", row(figures=[1.0, float("nan"), 2.0])))
    assert [each.figures for each in found.measures.values()] == [(1.0, 2.0)]
