"""Python's collector of garbage, in a front end."""

from __future__ import annotations

import gc
from typing import Final

#: Lists of lists in a large body look like garbage to come: with Python's 700, two thirds of the time that one takes.
_THRESHOLDS: Final = (50_000, 20, 50)


def collect_rarely() -> None:
    """What is loaded now stays: the collector need not walk it again and again."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
