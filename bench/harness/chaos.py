"""What is done to a server in the middle of a run, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.harness.outcome import Event
from ringserve.errors import ServingError

_PATIENCE: Final = 60.0  # s; for something that has begun and is not over when the run is

#: Does something, step by step, and says what after each; ends early when the run is over.
Deed = Callable[[threading.Event], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Action:
    """At so many seconds since the measuring began, something is done. Negative: with the first request."""

    seconds: float
    deed: Deed


class Chaos:
    """The actions of each run, each in a thread of its own."""

    def __init__(self, actions: Sequence[Action] = ()) -> None:
        self._actions = actions
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.events: list[Event] = []  # of the last run

    @contextmanager
    def from_time(self, begin: float) -> Iterator[None]:
        """While a run lasts whose measuring begins at this time of the monotonic clock."""
        self._over.clear()
        self.events = []
        threads = [threading.Thread(target=self._do, args=(action, begin), daemon=True) for action in self._actions]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(_PATIENCE)

    def stop(self) -> None:
        """The run is over: what has not begun is not done."""
        self._over.set()

    def _do(self, action: Action, begin: float) -> None:
        if self._over.wait(max(0.0, begin + action.seconds - time.monotonic())):
            return
        try:
            for what in action.deed(self._over):
                self._note(begin, what)
        except (OSError, ServingError, RuntimeError) as error:
            self._note(begin, f"failed: {error}")

    def _note(self, begin: float, what: str) -> None:
        with self._lock:
            self.events.append(Event(max(0.0, time.monotonic() - begin), what))
            self.events.sort(key=lambda event: event.seconds)
