"""What the coordinator makes of what its generators say, in whatever order they end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from end_to_end.waiting import wait_until
from made_outcomes import outcome, window

from bench.harness import coordinator
from bench.harness.coordinator import finished_run, run
from bench.harness.errors import HarnessError
from bench.harness.outcome import Generator, Outcome, Window
from bench.harness.plan import Closed, Plan
from bench.harness.request_set import RequestSet
from bench.histogram import Histogram

LIMIT = 20.0


class Played:
    """Generators that say what the test has them say."""

    made: list[Played]

    def __init__(self, _: RequestSet, share: Any, words: Any) -> None:
        self.index = share.index
        self.words = words
        self.stopped = threading.Event()
        self.say({"connected": True})
        self.made.append(self)

    def say(self, words: dict[str, Any] | None) -> None:
        self.words.put((self.index, words))

    def go(self, began: int) -> None: ...

    def stop(self) -> None:
        self.stopped.set()

    def kill(self) -> None: ...

    def last_words(self) -> str:
        return "ended with 0"

    def answer(self, requests: int) -> None:
        latencies = Histogram()
        latencies.record([1_000_000] * requests)
        self.say({"window": Window(requests, {}, latencies).to_wire()})

    def finish(self) -> None:
        """And end, as a process does that has no more to do."""
        generator = {"cpu": 0.1, "late": 0.0, "unsent": 0}
        self.say({"finish": {"generator": generator, "seconds": 1.0, "sent": [], "failed": []}})
        self.say(None)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[Outcome | Exception]:
    """A run of two generators in a thread; what comes of it."""
    Played.made = []
    monkeypatch.setattr(coordinator, "GeneratorProcess", Played)
    ended: list[Outcome | Exception] = []

    def work() -> None:
        try:
            ended.append(run(RequestSet("http://x", "tfs", ()), Plan(Closed(2), 1.0, 0.0, processes=2)))
        except HarnessError as error:
            ended.append(error)

    threading.Thread(target=work, daemon=True).start()
    wait_until(lambda: len(Played.made) == 2, LIMIT, "both to be started")
    return ended


def test_one_may_end_long_before_the_other(running: list[Outcome | Exception]) -> None:
    first, second = Played.made
    for each in (first, second):
        each.answer(5)
    first.finish()
    wait_until(first.words.empty, LIMIT, "that to be heard")
    assert not running
    second.finish()
    wait_until(lambda: running, LIMIT, "the outcome")
    (found,) = running
    assert isinstance(found, Outcome)
    assert found.complete
    assert found.whole.requests == 10
    assert found.generators == [Generator(0.1, 0.0)] * 2


def test_one_that_ends_without_a_word_is_told(running: list[Outcome | Exception]) -> None:
    began = time.monotonic()
    Played.made[0].say(None)
    wait_until(lambda: running, LIMIT, "the error")
    assert str(running[0]) == "a load generator ended with 0"
    assert time.monotonic() - began < LIMIT


def test_a_run_that_was_interrupted_is_no_finished_one(monkeypatch: pytest.MonkeyPatch) -> None:
    short, whole = outcome([window([1.0])], complete=False), outcome([window([1.0])])
    found = iter((short, whole))
    monkeypatch.setattr(coordinator, "run", lambda *_: next(found))
    requests, plan = RequestSet("http://x", "tfs", ()), Plan(Closed(1), 1.0)
    with pytest.raises(KeyboardInterrupt):
        finished_run(requests, plan)
    assert finished_run(requests, plan) is whole
