"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.01


def wait_until(condition: Callable[[], T], seconds: float, what: str | Callable[[], str]) -> T:
    """What `condition` returns as soon as that is true; fails when it is not within `seconds`."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(_PAUSE)
    return found
