"""How far a run has got: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from bench.harness.outcome import Window
from bench.harness.plan import Plan

_WIDTH = 24
_LINE_SECONDS = 10.0  # between two lines about the same run


class Progress:
    """Says nothing; see Bar and Lines."""

    @contextmanager
    def of(self, plan: Plan, began: float) -> Iterator[None]:
        """While the run lasts, whose load begins at this time of the monotonic clock, in seconds."""
        self._plan, self._began = plan, began
        try:
            yield
        finally:
            self._end()

    def show(self, windows: Sequence[Window]) -> None:
        """These are over. Called several times a second."""

    def _end(self) -> None: ...

    def _seconds(self) -> float:
        """Since the load began; the warm-up included."""
        return max(0.0, time.monotonic() - self._began)

    def _figures(self, windows: Sequence[Window]) -> str:
        """Of the last window; the errors of all."""
        if not windows or self._seconds() < self._plan.warmup:
            return "warm-up" if self._seconds() < self._plan.warmup else ""
        last = windows[-1]
        failed = sum(sum(window.errors.values()) for window in windows)
        p99 = f", p99 {last.latencies.percentile(99) / 1e6:.3g} ms" if last.latencies.total else ""
        errors = f", {failed} error{'s' * (failed != 1)}" if failed else ""
        return f"{last.requests / self._plan.window:,.0f}/s{p99}{errors}"


class Bar(Progress):
    """One line that is written over and over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, windows: Sequence[Window]) -> None:
        whole = self._plan.warmup + self._plan.seconds
        seconds = min(self._seconds(), whole)
        bar = "#" * round(_WIDTH * seconds / whole)
        text = f"{self._plan.shape}  [{bar:-<{_WIDTH}}] {seconds:.0f}/{whole:.0f} s  {self._figures(windows)}"
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()

    def _end(self) -> None:
        self._stream.write("\r\x1b[K")
        self._stream.flush()


class Lines(Progress):
    """A line when a run begins, and one now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @contextmanager
    def of(self, plan: Plan, began: float) -> Iterator[None]:
        self._next = began + plan.warmup + _LINE_SECONDS
        print(f"{plan.shape}: {plan.warmup:g} s to warm up, then {plan.seconds:g} s", file=self._stream, flush=True)
        with super().of(plan, began):
            yield

    def show(self, windows: Sequence[Window]) -> None:
        if time.monotonic() >= self._next:
            self._next += _LINE_SECONDS
            seconds = self._seconds() - self._plan.warmup
            print(f"  {seconds:.0f} s: {self._figures(windows)}", file=self._stream, flush=True)


def progress_on(stream: TextIO) -> Progress:
    return Bar(stream) if stream.isatty() else Lines(stream)
