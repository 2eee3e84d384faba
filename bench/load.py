"""What a load generator is told and what it finds out, whichever it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

#: How long answers that are still on their way at the end of a run are waited for.
PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, what they are, and the JSON value that answers them."""

    port: int
    path: str
    body: str
    answer: Any

    @property
    def request(self) -> bytes:
        body = self.body.encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
        return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass(frozen=True, slots=True)
class Load:
    """One run of a generator. Requests that are errors are in neither the number nor the times."""

    requests: int
    seconds: float
    p50: float  # ms
    p99: float
    errors: int
    longest: float = math.nan  # ms

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0
