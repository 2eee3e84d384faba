"""Until when a call may take."""

from __future__ import annotations

import time
from typing import Final, NamedTuple, Self

from ringserve.client.failures import late
from ringserve.errors import ServingError


class Limit(NamedTuple):
    """`timeout` in seconds, None: no limit; `deadline` in ns of CLOCK_MONOTONIC, 0: none."""

    timeout: float | None
    deadline: int

    @classmethod
    def of(cls, timeout: float | None) -> Self:
        """From now on. Raises ServingError (DEADLINE_EXCEEDED) where there is no time at all."""
        if timeout is None:
            return cls(None, 0)
        if timeout <= 0:
            raise late(timeout)
        return cls(timeout, time.monotonic_ns() + int(timeout * 1e9))

    def left(self) -> float | None:
        """Seconds, at least 0; None: no limit."""
        return max(self.deadline - time.monotonic_ns(), 0) / 1e9 if self.deadline else None

    def late(self) -> ServingError:
        """That the call's time is over."""
        return late(self.timeout)


NO_LIMIT: Final = Limit(None, 0)
