"""How long this thread has waited for a processor, from /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Self


class RunQueue:
    """Of the thread that makes it.

    What is measured in a process of the tests is also how long the kernel lets that wait. It shares the processors among
    sessions first, and each server is one: on two processors that several servers keep busy, a client of theirs was seen
    to stand still for 1.2 s while its answers had long come.
    """

    def __init__(self) -> None:
        self._file = -1
        with suppress(FileNotFoundError):  # where the kernel does not tell, it waits for 0 s
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file >= 0:
            os.close(self._file)

    def waited(self) -> float:
        """Seconds, from the thread's beginning, for which it could have run."""
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 80, 0).split()[1]) * 1e-9
