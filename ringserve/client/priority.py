"""A request's priority, as callers say it."""

from __future__ import annotations

from ringserve.errors import Code, ServingError
from ringserve.priority import HIGH, PRIORITIES, lowness


def checked_priority(priority: str) -> bool:
    """Is it the low one? Raises ServingError (INVALID_ARGUMENT) for what is no priority."""
    if priority == HIGH:  # nearly always
        return False
    low = lowness(priority) if isinstance(priority, str) else None
    if low is None:
        raise ServingError(Code.INVALID_ARGUMENT, f"A priority is {PRIORITIES}, not {priority!r:.100}")
    return low
