"""How long a call may take."""

from __future__ import annotations

import time
from typing import Final

DEFAULT_TIMEOUT: Final = 60.0  # seconds, of a client's calls

_LONGEST: Final = 1e9  # seconds, more than 30 years; clocks and protocols can't count on for ever


def limit(timeout: float | None) -> float | None:
    """A caller's seconds, checked; None: no limit, as `math.inf` says too. Raises ValueError for what is no time."""
    if timeout is None:
        return None
    if not timeout >= 0:  # NaN is not
        raise ValueError(f"a timeout is a number of seconds from 0 on, not {timeout}")
    return None if timeout > _LONGEST else float(timeout)


class Deadline:
    """Begins when it is made. `seconds`: of all that is to be done until then, None: no limit."""

    __slots__ = ("_ends", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._ends = 0.0 if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds, at least 0; None: no limit."""
        return None if self.seconds is None else max(self._ends - time.monotonic(), 0.0)
