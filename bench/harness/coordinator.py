"""One run: generators are started, let go together, listened to, and what they counted is put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from queue import Empty, Queue
from typing import Any, Final

from bench.harness.batch_sizes import BatchSizes
from bench.harness.chaos import Chaos
from bench.harness.errors import HarnessError
from bench.harness.generator_process import GeneratorProcess, Words
from bench.harness.outcome import Generator, Outcome, Window
from bench.harness.plan import Plan
from bench.harness.progress import Progress
from bench.harness.request_set import RequestSet
from bench.harness.share import shares
from bench.harness.stability import Settling, drifts
from bench.histogram import Histogram

_LEAD: Final = 0.05  # s; between the word to go and the time of it, for all generators to have heard it
_TICK: Final = 0.1  # s
_START_SECONDS: Final = 60.0
_PATIENCE: Final = 15.0  # s; beyond what a run takes by its plan
_LAST_PATIENCE: Final = 5.0  # s; after an interruption


#: Looks at what a generator has said: is it what is waited for?
Take = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Beside:
    """What happens beside a run. `settling`: it ends when it has settled, and only the windows that agree count."""

    progress: Progress = field(default_factory=Progress)
    chaos: Chaos = field(default_factory=Chaos)
    batches: BatchSizes = field(default_factory=BatchSizes)
    settling: Settling | None = None


def run(requests: RequestSet, plan: Plan, beside: Beside | None = None) -> Outcome:
    """An interruption (KeyboardInterrupt) ends the run: the outcome has what there is, and is not complete.

    Raises HarnessError when the server can't be reached and when a generator fails.
    """
    return _Run(requests, plan, beside or Beside()).outcome()


def finished_run(requests: RequestSet, plan: Plan, beside: Beside | None = None) -> Outcome:
    """As `run`, but an interruption stays one: for figures that a part of a run does not give. Raises KeyboardInterrupt."""
    outcome = run(requests, plan, beside)
    if not outcome.complete:
        raise KeyboardInterrupt
    return outcome


class _Run:
    def __init__(self, requests: RequestSet, plan: Plan, beside: Beside) -> None:
        self._requests = requests
        self._plan = plan
        self._beside = beside
        self._shares = shares(plan)
        self._words: Queue[Words] = Queue()
        self._windows: list[list[Window]] = [[] for _ in self._shares]
        self._together: list[Window] = []  # those that all generators have finished
        self._finishes: dict[int, dict[str, Any]] = {}
        self._settled: list[Window] = []  # the windows that agree

    def outcome(self) -> Outcome:
        beside, complete = self._beside, True
        with ExitStack() as stack:
            self._generators = [self._started(share_index, stack) for share_index in range(len(self._shares))]
            self._listen(lambda words: "connected" in words, time.monotonic() + _START_SECONDS)
            began = time.monotonic() + _LEAD
            for generator in self._generators:
                generator.go(int(began * 1e9))
            measured_from = began + self._plan.warmup
            date = datetime.now(UTC)
            stack.enter_context(beside.progress.of(self._plan, began))
            stack.enter_context(beside.batches.from_time(measured_from))
            stack.enter_context(beside.chaos.from_time(measured_from))
            try:
                give_up = measured_from + self._plan.seconds + self._plan.timeout + _PATIENCE
                self._listen(self._take, give_up, self._tick)
            except KeyboardInterrupt:
                complete = False
                self._stop()
                with suppress(HarnessError):  # what there is, even where the interruption came in the middle of a word
                    self._listen(self._take, time.monotonic() + _LAST_PATIENCE)
            beside.chaos.stop()
            beside.batches.stop()
        return self._put_together(date.isoformat(timespec="seconds"), complete)

    def _started(self, index: int, stack: ExitStack) -> GeneratorProcess:
        generator = GeneratorProcess(self._requests, self._shares[index], self._words)
        stack.callback(generator.kill)
        return generator

    def _listen(self, take: Take, give_up: float, tick: Callable[[], None] | None = None) -> None:
        """Until each generator has said something that `take` says is the last of its words. Raises HarnessError."""
        left = {generator.index for generator in self._generators} - self._finishes.keys()
        while left:
            try:
                index, words = self._words.get(timeout=_TICK)
            except Empty:
                if time.monotonic() > give_up:
                    raise HarnessError("the load generator does not answer") from None
            else:
                if index not in self._finishes and self._heard(index, words, take):  # afterwards it ends, before others
                    left.discard(index)
            if tick is not None:
                tick()

    def _heard(self, index: int, words: dict[str, Any] | None, take: Take) -> bool:
        """Raises HarnessError for a generator that has ended, or says that it can't go on."""
        if words is None:
            raise HarnessError(f"a load generator {self._generators[index].last_words()}")
        if "failed" in words:
            raise HarnessError(f"cannot send requests to {self._requests.url}: {words['failed']}")
        return take({**words, "index": index})

    def _take(self, words: dict[str, Any]) -> bool:
        index = words["index"]
        if "finish" in words:
            self._finishes[index] = words["finish"]
            return True
        self._windows[index].append(Window.from_wire(words["window"]))
        while all(len(windows) > len(self._together) for windows in self._windows):
            self._together.append(_merged(self._windows, len(self._together)))
        return False

    def _tick(self) -> None:
        self._beside.progress.show(self._together)
        settling = self._beside.settling
        if settling is not None and not self._settled and settling.settled(self._whole_windows()):
            self._settled = self._whole_windows()[-settling.windows :]
            self._stop()

    def _stop(self) -> None:
        for generator in self._generators:
            generator.stop()

    def _whole_windows(self) -> list[Window]:
        return self._together[: int(self._plan.seconds / self._plan.window + 1e-6)]

    def _put_together(self, date: str, complete: bool) -> Outcome:
        plan = self._plan
        windows = [_merged(self._windows, index) for index in range(max(map(len, self._windows)))]
        seconds = max((finish["seconds"] for finish in self._finishes.values()), default=len(windows) * plan.window)
        stable = not drifts(self._whole_windows()) if self._beside.settling is None else bool(self._settled)
        if self._settled:
            windows, seconds = self._settled, len(self._settled) * plan.window
        sent, failed = Histogram(), Histogram()
        for finish in self._finishes.values():
            sent.add(Histogram.from_wire(finish["sent"]))
            failed.add(Histogram.from_wire(finish["failed"]))
        return Outcome(
            about={"url": self._requests.url, "api": self._requests.api, **self._requests.about},
            plan=replace(plan, processes=len(self._shares)).to_wire(),
            began=date,
            seconds=seconds,
            windows=windows,
            generators=[Generator(**self._finishes[index]["generator"]) for index in sorted(self._finishes)],
            stable=stable,
            complete=complete,
            events=self._beside.chaos.events,
            batch_sizes=self._beside.batches.sizes,
            sent=sent,
            failed_after=failed,
        )


def _merged(parts: list[list[Window]], index: int) -> Window:
    together = Window()
    for windows in parts:
        if index < len(windows):
            together.add(windows[index])
    return together
