"""Outcomes in files: what is written is read again, and what can't be read is refused with its line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_outcomes import eventful, outcome, steady, window

from bench.harness.csv_tables import write_outcomes, write_windows
from bench.harness.outcome import Generator
from bench.harness.plan import Open
from bench.harness.results import ResultsError, read_json_lines, write_json_lines


def wire(**changes: Any) -> dict[str, Any]:
    return {**eventful().to_wire(), **changes}


def written(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    outcomes = [eventful(), steady(50, 1.0, shape=Open(50.0)), outcome([])]
    write_json_lines(outcomes, path)
    assert [each.to_wire() for each in read_json_lines(path)] == [each.to_wire() for each in outcomes]
    write_json_lines(outcomes[:1], path)
    assert len(read_json_lines(path)) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["a.jsonl"]


@given(st.text(), st.dictionaries(st.text(), st.integers(0, 2**40)))
def test_texts_of_any_kind_keep_to_their_line(tmp_path_factory: pytest.TempPathFactory, text: str, errors: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    write_json_lines([outcome([window([1.0], errors)], about={"model": text})] * 2, path)
    first, second = read_json_lines(path)
    assert first.about["model"] == second.about["model"] == text
    assert first.windows[0].errors == errors


def test_a_file_that_can_not_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_json_lines([eventful()], path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_lines([outcome([], generators=[Generator(float("nan"), 0.0)])], path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_outcomes([eventful()], tmp_path / "folder")
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.jsonl", "folder"]


def test_bytes_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    write_outcomes([outcome([], about={"model": "a\udcffb"})], tmp_path / "a.csv")
    assert cells(tmp_path / "a.csv")[0]["about.model"] == r"a\udcffb"


@pytest.mark.parametrize("name", sorted(outcome([]).to_wire().keys() - {"summary"}))
def test_an_outcome_without_one_of_its_parts_is_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({of: part for of, part in outcome([]).to_wire().items() if of != name}))
    with pytest.raises(ResultsError, match=f"{name}"):
        read_json_lines(path)


def test_empty_lines_are_no_outcomes(tmp_path: Path) -> None:
    assert len(read_json_lines(written(tmp_path, "", wire(), "  ", wire()))) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 3: not JSON: Expecting property name"),
        ("[]", "line 3: not an outcome of a run: it is not an object"),
        ("{}", "about is missing"),
        (wire(seconds="3"), "seconds is not a number from 0 on"),
        (wire(seconds=float("nan")), "NaN is no number of JSON"),
        (wire(stable=1), "stable is not true or false"),
        (wire(windows={}), "windows is not a list"),
        (wire(windows=[{"requests": 1, "errors": {}}]), "windows[0].latencies is missing"),
        (wire(windows=[{"requests": 1, "errors": {"503": -1}, "latencies": []}]), "windows[0].errors['503'] is not a count"),
        (wire(windows=[{"requests": 1, "errors": {}, "latencies": [[-1, 1]]}]), "latencies[0][0] is not a count"),
        (wire(windows=[{"requests": 1, "errors": {}, "latencies": [[99999, 1]]}]), "out of bounds"),
        (wire(windows=[{"requests": 1, "errors": {}, "latencies": [[1, 10**30]]}]), "too large"),
        (wire(events=[[1.0]]), "events[0] is not a list of 2"),
        (wire(plan={}), "plan.shape is missing"),
        (wire(plan={**wire()["plan"], "shape": {"kind": "round"}}), "plan.shape.kind is neither closed nor open"),
        (wire(plan={**wire()["plan"], "shape": {"kind": "open", "rate": "1"}}), "plan.shape.rate is not a number"),
        (wire(plan={**wire()["plan"], "window": 0}), "plan.window is 0"),
        (wire(plan={**wire()["plan"], "more": 0}), "unexpected keyword argument 'more'"),
    ],
)
def test_what_is_no_outcome_is_refused_with_its_line(tmp_path: Path, line: Any, reason: str) -> None:
    path = written(tmp_path, wire(), "", line)
    with pytest.raises(ResultsError) as caught:
        read_json_lines(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert reason in str(caught.value)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"none.jsonl: No such file"):
        read_json_lines(tmp_path / "none.jsonl")
    (tmp_path / "image").write_bytes(b"\x89PNG")
    with pytest.raises(ResultsError, match="image is not text: invalid start byte at byte 0"):
        read_json_lines(tmp_path / "image")


def test_csv_has_a_line_for_each_outcome(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_outcomes([eventful(), outcome([window([1.0] * 4)], Open(4.0, "constant"), about={"label": "new"})], path)
    first, second = cells(path)
    assert (first["about.model"], first["about.label"], second["about.label"]) == ("half_plus_two", "", "new")
    assert (first["plan.kind"], first["plan.clients"], first["plan.rate"]) == ("closed", "8", "")
    assert (second["plan.kind"], second["plan.rate"], second["plan.arrivals"]) == ("open", "4.0", "constant")
    assert (first["requests"], first["errors"], first["errors: 503"], first["errors: timeout"]) == ("5", "3", "2", "1")
    assert (second["requests"], second["rate"], second["errors"], second["errors: 503"]) == ("4", "4.0", "0", "")
    assert float(first["p100_ms"]) == pytest.approx(40.0, rel=0.01)
    assert float(second["p50_ms"]) == pytest.approx(1.0, rel=0.01)


def test_csv_has_a_line_for_each_window(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_windows([outcome([window([5.0])]), eventful()], path)
    lines = cells(path)
    assert [(line["outcome"], line["window"], line["start_s"]) for line in lines] == [
        *(("0", "0", "0.0"), ("1", "0", "0.0"), ("1", "1", "1.0"), ("1", "2", "2.0")),
    ]
    assert [line["requests"] for line in lines] == ["1", "3", "2", "0"]
    assert [line["errors: 503"] for line in lines] == ["", "", "2", ""]
    assert lines[3]["p50_ms"] == ""


def test_csv_holds_no_formulas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_outcomes([outcome([window([1.0], {"=1+1": 1})], about={"model": "=cmd|' /C calc'!A0", "rows": -1})], path)
    (line,) = cells(path)
    assert line["about.model"] == "'=cmd|' /C calc'!A0"
    assert line["about.rows"] == "-1"
    assert line["errors: =1+1"] == "1"
