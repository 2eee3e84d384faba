"""Forks of a process that has gRPC's threads.

gRPC can go on in a child only where no thread was inside it at the fork; elsewhere the child would hang or crash. So a fork waits
a moment for the calls that run, and holds up those that begin. Where some go on for longer, as streams do, the child is told so
instead of calling.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from ringserve.errors import Code, ServingError

_PATIENCE: Final = 0.25  # seconds


class ForkGate:
    """One for each process, as there is one gRPC."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._calls = 0
        self._streams = 0
        self._forks = 0  # in which other threads are just now
        self._is_lost = False
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def enter(self, is_stream: bool = False) -> None:
        """A call begins. Raises ServingError (FAILED_PRECONDITION) in a child that can't call."""
        with self._changed:
            while self._forks:
                self._changed.wait()
            if self._is_lost:
                text = "gRPC can't be used in this process: calls were running in its parent when it was forked"
                raise ServingError(Code.FAILED_PRECONDITION, text)
            if is_stream:
                self._streams += 1
            else:
                self._calls += 1

    def leave(self, is_stream: bool = False) -> None:
        """It has ended."""
        with self._changed:
            if is_stream:
                self._streams -= 1
            else:
                self._calls -= 1
            if self._forks:
                self._changed.notify_all()

    def _before(self) -> None:
        with self._changed:
            self._forks += 1
            if not self._streams:  # which last, so that waiting for calls is of no use
                self._changed.wait_for(lambda: not self._calls, _PATIENCE)

    def _in_parent(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def _in_child(self) -> None:
        self._changed = threading.Condition(threading.Lock())  # whoever held it is not here
        self._is_lost = self._is_lost or bool(self._calls or self._streams)
        self._calls = self._streams = self._forks = 0


GATE: Final = ForkGate()
