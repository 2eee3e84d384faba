"""The two classes of requests: of high priority, as all are that say nothing else, and of low priority.

A worker runs requests of low priority when no others wait for their turn, or to fill up a batch.
"""

from __future__ import annotations

from typing import Final

from ringserve.errors import Code, ServingError

LOW: Final = "low"
HIGH: Final = "high"
PRIORITIES: Final = f"{HIGH} or {LOW}"
#: Where requests over HTTP and gRPC say which they are.
HEADER: Final = "X-Priority"
METADATA: Final = "x-priority"

_NAMES: Final = {LOW: True, HIGH: False}


def lowness(text: str) -> bool | None:
    """Does it name the low priority, or the high one? In any case; None: neither."""
    return _NAMES.get(text.lower())


def is_low(text: str, where: str) -> bool:
    """As `lowness`. `where`: what the error says of where it stood.

    Raises ServingError (INVALID_ARGUMENT) for what is neither.
    """
    low = lowness(text)
    if low is None:
        raise ServingError(Code.INVALID_ARGUMENT, f"{where} is {text[:64]!r}; expected {PRIORITIES}")
    return low
