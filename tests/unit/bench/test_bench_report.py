"""The table and the JSON file of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import Report, number
from bench.topology import Goal, Row


def report() -> Report:
    stream = Row("ring-stream", "throughput", "req/s", "higher", "one run", (Goal("ratio", 10), Goal("figure", 1_000_000)))
    stream.add(900_000.0, 50_000.0)
    stream.add(800_000.0, 40_000.0)
    start = Row("start", "first answer", "s", "lower", goals=(Goal("figure", 1.5),))
    start.add(2.25)
    unmeasured = Row("rest-c1", "p50", "ms", "lower", "echo", (Goal("figure", 0.35),))
    return Report(
        {"date": "2026-01-31"}, [stream, start, unmeasured], {"rest-c1": "no server"}, skipped={"mosec-c1": "no network"}
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_table_has_figures_ratios_and_goals() -> None:
    heading, rule, stream, start, unmeasured, failure, skipped = report().table().splitlines()
    assert cells(heading)[:5] == ["topology", "measure", "best", "median", "floor"]
    assert set(rule) == {"-", " "}
    assert cells(stream) == [
        *("ring-stream", "throughput, req/s", "900,000", "850,000"),
        *("one run", "50,000", "45,000", "18.00x", "18.89x"),
        *(">= 10x, >= 1,000,000 req/s", "met, MISSED"),
    ]
    assert cells(start) == ["start", "first answer, s", "2.25", "2.25", "<= 1.5 s", "MISSED"]
    assert cells(unmeasured) == ["rest-c1", "p50, ms", "<= 0.35 ms", "?"]
    assert failure == "rest-c1: not measured: no server"
    assert skipped == "mosec-c1: skipped: no network"


def test_columns_stand_under_each_other() -> None:
    heading, _, stream, start, *_ = report().table().splitlines()
    assert stream.index("900,000") + len("900,000") == heading.index("best") + len("best")
    assert start.index("2.25") + len("2.25") == heading.index("best") + len("best")
    assert stream.index(">= 10x") == heading.index("goal") == start.index("<= 1.5 s")


def test_errors_stand_beside_the_verdict() -> None:
    row = Row("rest-c1", "p50", "ms", "lower", goals=(Goal("figure", 1.0),))
    row.add(0.5, errors=3)
    assert cells(Report({}, [row]).table().splitlines()[-1])[-1] == "MISSED 3 errors"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567.8, "1,234,568"),
        (100, "100"),
        (99.94, "99.9"),
        (10, "10.0"),
        (9.994, "9.99"),
        (0.26949, "0.269"),
        (0, "0.000"),
    ],
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    found = report()
    found.write(path)
    assert json.loads(path.read_text()) == found.to_json()
    assert not json.loads(path.read_text())["complete"]
    found.complete = True
    found.write(path)
    written = json.loads(path.read_text())
    assert written["complete"]
    assert written["date"] == "2026-01-31"
    assert written["failures"] == {"rest-c1": "no server"}
    assert written["skipped"] == {"mosec-c1": "no network"}
    assert [row["figures"] for row in written["results"]] == [[900_000.0, 800_000.0], [2.25], []]
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]
