"""Forks of a process that has gRPC's threads.

gRPC can go on in a child only where no thread was inside it at the fork; elsewhere the child would hang or crash. So a fork
waits a moment for the calls that run, and holds up those that begin. Where some go on for longer, as streams do, the child
is told so instead of calling.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from ringserve.errors import Code, ServingError

_PATIENCE: Final = 0.25  # seconds


class ForkGate:
    """What calls and forks pass through: one for each process, as there is one gRPC."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._calls = 0
        self._forks = 0  # that other threads are at just now
        self._is_lost = False

    def check(self) -> None:
        """Raises ServingError (FAILED_PRECONDITION) in a child that can't call."""
        if self._is_lost:
            text = "gRPC can't be used in this process: calls were running in its parent when it was forked"
            raise ServingError(Code.FAILED_PRECONDITION, text)

    def enter(self) -> None:
        """A call begins. Raises as `check`."""
        with self._changed:
            while self._forks:
                self._changed.wait()
            self.check()
            self._calls += 1

    def leave(self) -> None:
        """It has ended."""
        with self._changed:
            self._calls -= 1
            if self._forks:
                self._changed.notify_all()

    def before_fork(self) -> None:
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._calls, _PATIENCE)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        self._changed = threading.Condition(threading.Lock())  # whoever held it is not here
        self._is_lost = self._is_lost or self._calls > 0
        self._calls = self._forks = 0


GATE: Final = ForkGate()

os.register_at_fork(
    before=GATE.before_fork, after_in_parent=GATE.after_fork_in_parent, after_in_child=GATE.after_fork_in_child
)
