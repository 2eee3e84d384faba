"""What `ringserve bench self-test` makes of its findings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.harness import self_test
from bench.harness.errors import HarnessError
from bench.harness.self_checks import Finding, above
from bench.histogram import Histogram
from ringserve.cli import main

Capture = pytest.CaptureFixture[str]


def finding(proven: bool | None) -> Iterator[Finding]:
    yield Finding("a rate", proven, "10/s")


def proven(_: float) -> Iterator[Finding]:
    return finding(True)


def not_proven(_: float) -> Iterator[Finding]:
    return finding(False)


def skipped(_: float) -> Iterator[Finding]:
    return finding(None)


def failing(_: float) -> Iterator[Finding]:
    yield from finding(True)
    raise HarnessError("no server")


@pytest.mark.parametrize(
    ("checks", "status", "words"),
    [
        ([proven, skipped], 0, ["proven      a rate: 10/s", "skipped     a rate: 10/s"]),
        ([not_proven, proven], 1, ["NOT PROVEN  a rate: 10/s", "proven      a rate: 10/s"]),
        ([failing, proven], 1, ["proven      a rate: 10/s", "proven      a rate: 10/s"]),
    ],
)
def test_one_that_is_not_proven_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, checks: list[object], status: int, words: list[str]
) -> None:
    monkeypatch.setattr(self_test, "CHECKS", tuple(checks))
    assert main(["bench", "self-test"]) == status
    assert capsys.readouterr().out.splitlines() == words


@pytest.mark.parametrize("seconds", ["1", "nan", "inf", "x"])
def test_too_short_a_test_is_refused(seconds: str, capsys: Capture) -> None:
    assert main(["bench", "self-test", "--seconds", seconds]) == 2
    assert "--seconds" in capsys.readouterr().err


def test_values_above_a_bound_are_counted() -> None:
    histogram = Histogram()
    histogram.record([1_000_000, 99_000_000, 101_500_000, 5_000_000_000])
    assert above(histogram, 0.1) == 2
