"""What a load generator is told and what it finds out, whichever it is."""

from __future__ import annotations

import http.client
import json
import math
from dataclasses import dataclass
from typing import Any, Final

#: How long answers that are still on their way at the end of a run are waited for.
PATIENCE: Final = 5.0
_ANSWER_SECONDS: Final = 10.0  # for one answer to a question


class WrongAnswerError(RuntimeError):
    """A server answered what it should not have; the text begins with "answered"."""


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

    def ask(self, count: int) -> bytes:
        """Send some requests, one after the other: the last one's body.

        Raises WrongAnswerError, OSError and HTTPException; of these, ConnectionError while nobody listens.
        """
        body = b""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_SECONDS)
        try:
            for _ in range(count):
                connection.request("POST", self.path, self.body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                body = response.read()
                if response.status != 200 or not _means(body, self.answer):
                    raise WrongAnswerError(f"answered {response.status} {body[:200]!r}")
        finally:
            connection.close()
        return body


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


def _means(body: bytes, answer: Any) -> bool:
    try:
        return bool(json.loads(body) == answer)
    except ValueError:
        return False
