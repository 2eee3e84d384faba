"""Loads and warm-ups by folder."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from manager.load_record import LoadRecord
from manager.upstream_exposition import Metric
from ringserve.errors import Code, ServingError

ATTEMPTS = "/tensorflow/cc/saved_model/load_attempt_count"
LATENCY = "/tensorflow/cc/saved_model/load_latency"
WARM_UP = "/tensorflow/serving/model_warmup_latency"
RECORDS = "/tensorflow/serving/model_warmup_records_read"


class Rig:
    """A record whose loads take `seconds` each."""

    def __init__(self, most_paths: int = 10) -> None:
        self.now = 5_000_000_000
        self.record = LoadRecord(lambda: self.now, most_paths)

    def load(self, path: str, seconds: float, outcome: dict[str, Any] | BaseException) -> None:
        async def loading() -> dict[str, Any]:
            self.now += round(seconds * 1e9)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        async def watching() -> None:
            assert await self.record.watch(path, loading()) is outcome

        asyncio.run(watching())

    def values(self, name: str) -> dict[tuple[str, ...], list[int]]:
        return {labels: list(words) for labels, words in self.record.metrics()[self.metric(name)].items()}

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.record.metrics() if metric.name == name)


def answer(source: str = "off", seconds: float = 0.0, records: int = 0) -> dict[str, Any]:
    return {"warm_up": {"source": source, "requests": 2 * records, "seconds": seconds, "records": records, "notes": []}}


def test_attempts_and_their_time_without_the_warm_up() -> None:
    rig = Rig()
    for _ in range(2):
        with pytest.raises(ServingError, match="no model"):
            rig.load("/m/1", 0.5, ServingError(Code.NOT_FOUND, "no model"))
    rig.load("/m/1", 2.0, answer("synthetic", 0.75))
    rig.load("/m/2", 0.25, answer())
    assert rig.values(ATTEMPTS) == {("/m/1", "success"): [1], ("/m/1", "fail"): [2], ("/m/2", "success"): [1]}
    assert rig.values(LATENCY) == {("/m/1",): [2_250_000], ("/m/2",): [250_000]}


def test_warm_ups_with_recorded_requests_are_counted_made_up_ones_are_not() -> None:
    rig = Rig()
    rig.load("/m/1", 1.0, answer("file", 20e-6, 7))
    rig.load("/m/1", 1.0, answer("file", 3_000.0, 7))
    rig.load("/m/2", 1.0, answer("synthetic", 0.5))
    assert rig.values(RECORDS) == {("/m/1", "OK"): [14]}
    ((labels, words),) = rig.values(WARM_UP).items()
    assert labels == ("/m/1", "OK")
    assert (words[2], words[33], sum(words[:-1]), words[-1]) == (1, 1, 2, 3_000_000_020)
    assert rig.values(LATENCY)["/m/1",] == [999_980], "a warm-up that took longer than the load takes nothing off it"


def test_a_load_that_is_cancelled_is_none() -> None:
    rig = Rig()
    with pytest.raises(asyncio.CancelledError):
        rig.load("/m/1", 1.0, asyncio.CancelledError())
    assert rig.values(ATTEMPTS) == rig.values(LATENCY) == {}


def test_the_paths_loaded_last_are_remembered() -> None:
    rig = Rig(most_paths=2)
    for path in ("/m/1", "/m/2", "/m/1", "/m/3"):
        rig.load(path, 0.0, answer())
    assert rig.values(ATTEMPTS) == {("/m/1", "success"): [2], ("/m/3", "success"): [1]}
