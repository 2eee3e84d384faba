"""What the comparison with other servers makes of runs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.harness.outcome import Event, Outcome, Window
from bench.histogram import Histogram
from bench.peers.__main__ import main
from bench.peers.findings import Finding, Findings
from bench.peers.interruption import WINDOW, Interruption
from bench.peers.level import Level, alone, best_within
from bench.peers.rounds import by_row


def level(clients: int, rate: float, p99: float, errors: int = 0) -> Level:
    return Level(clients, rate, p99 / 2, p99, errors, int(rate))


def finding(row: str, *levels: Level, model: str = "m", start: float = 1.0) -> Finding:
    return Finding("peer", row, model, "JSON", False, start, 100.0, 2, list(levels))


def window(requests: int, milliseconds: float = 1.0, errors: int = 0) -> Window:
    latencies = Histogram()
    latencies.record([int(milliseconds * 1e6)] * requests)
    return Window(requests, {"503": errors} if errors else {}, latencies)


def outcome(windows: list[Window], *events: Event) -> Outcome:
    return Outcome({}, {}, "", len(windows) * WINDOW, windows, [], events=list(events))


def test_best_rate_is_within_the_limit_and_without_failures() -> None:
    levels = [level(1, 10, 5), level(8, 50, 20), level(32, 90, 51), level(64, 80, 30, errors=1)]
    assert best_within(levels, 50) == levels[1]
    assert best_within(levels, 4) is None
    assert alone(levels) == levels[0]


def test_one_client_without_answers_has_no_figures() -> None:
    assert alone([Level(1, 0.0, math.nan, math.nan, 3, 0)]) is None


def test_rounds_are_medians_by_row_and_clients() -> None:
    rounds = [
        finding("a", level(1, 10, 4), start=3.0),
        finding("b", level(1, 99, 9)),
        finding("a", level(1, 20, 8), start=2.0),
    ]
    first, second = by_row([*rounds, finding("a", level(1, 1000, 1), model="other")], "m")
    assert (first.row, second.row) == ("a", "b")
    assert first.start == 2.0
    assert first.levels == [Level(1, 15.0, 3.0, 6.0, 0, 30)]


def test_interruption_counts_from_what_was_done() -> None:
    windows = [window(10), window(10), window(5, 40.0, errors=2), window(0), window(10, 2.0), window(10), window(3)]
    began = WINDOW * 2.5
    found = Interruption.of(outcome(windows, Event(began, "killed")), 0.0)
    assert (found.requests, found.failed, found.kinds) == (48, 2, {"503": 2})
    assert found.p99_before == pytest.approx(1.0, rel=0.01)
    assert found.p99_during == pytest.approx(40.0, rel=0.01)
    assert found.back == pytest.approx(4 * WINDOW - began)
    assert found.seconds is None


def test_interruption_that_is_over_has_a_length() -> None:
    windows = [window(10), window(10, 30.0), window(10, 50.0), window(10)]
    found = Interruption.of(outcome(windows, Event(WINDOW, "switch"), Event(1.5 * WINDOW, "switched")), 0.0)
    assert found.seconds == pytest.approx(WINDOW / 2)
    assert found.p99_during == pytest.approx(30.0, rel=0.01)
    assert found.back == 0.0


def test_interruption_may_last() -> None:
    found = Interruption.of(outcome([window(10), window(0), window(0), window(0)], Event(WINDOW, "killed")), 0.0)
    assert found.back is None
    assert math.isnan(found.p99_during)


def test_interruption_that_failed_has_no_length_and_says_why() -> None:
    found = Interruption.of(outcome([window(10)] * 4, Event(WINDOW, "switch"), Event(2 * WINDOW, "failed: no")), 0.5)
    assert found.seconds is None
    assert found.words == "failed: no"


def test_nothing_done_is_no_interruption() -> None:
    with pytest.raises(ValueError, match="nothing was done"):
        Interruption.of(outcome([window(1)]), 0.0)


def test_findings_are_read_as_they_were_written(tmp_path: Path) -> None:
    interruption = Interruption(1, 0, {}, 1.0, 2.0, 0.5, None)
    findings = Findings({"date": "today"}, found=[finding("a", Level(1, 0.0, 1.0, 2.0, 0, 7))])
    findings.interruptions = {"peer": {"switch": interruption, "kill": None}}
    findings.write(tmp_path / "results.json")
    assert Findings.read(tmp_path / "results.json") == findings


def test_findings_keep_what_is_not_a_number(tmp_path: Path) -> None:
    Findings({}, found=[finding("a", Level(1, 0.0, math.nan, math.nan, 3, 0))]).write(tmp_path / "results.json")
    assert math.isnan(Findings.read(tmp_path / "results.json").found[0].levels[0].p99)


def test_other_files_are_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"results": []}')
    with pytest.raises(ValueError, match="no result of the comparison"):
        Findings.read(path)


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_there_is_no_page_of_what_is_no_result(text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    assert main(["--page_from", str(path)]) == 2
    assert "no page: " in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--seconds nan", "--seconds 0", "--repeat 0", "--output /"])
def test_what_can_not_be_measured_is_refused_at_once(words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
