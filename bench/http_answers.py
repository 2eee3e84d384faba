"""HTTP answers taken apart, as little as it takes to know where one ends and whether it is right."""

from __future__ import annotations

import json
from typing import Any, Final

_MOST_HEAD: Final = 1 << 14
_MOST_BODIES: Final = 64  # different bodies that are remembered as right


class BadAnswerError(Exception):
    """Not the answer that was expected."""


class Answers:
    """The answers of one server, which all mean the same JSON value."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._right: set[bytes] = set()
        self._last_head = b""  # most heads are the same as the one before: the date in them changes once a second
        self._last_length = 0

    def whole(self, received: bytes) -> bool:
        """Is an answer, and a right one, there as a whole? Raises BadAnswerError when it is wrong or more than one."""
        end = received.find(b"\r\n\r\n")
        if end < 0:
            if len(received) > _MOST_HEAD:
                raise BadAnswerError("a head without an end")
            return False
        head = received[:end]
        if head != self._last_head:
            self._last_length = content_length(head)
            self._last_head = head
        missing = end + 4 + self._last_length - len(received)
        if missing > 0:
            return False
        body = received[end + 4 :]
        if missing < 0 or not (body in self._right or self._learn(body)):
            raise BadAnswerError(f"the body {body[:200]!r}")
        return True

    def _learn(self, body: bytes) -> bool:
        """A body not seen before: is it right?"""
        try:
            right = bool(json.loads(body) == self._answer)
        except ValueError:
            right = False
        if right and len(self._right) < _MOST_BODIES:
            self._right.add(body)
        return right


def content_length(head: bytes) -> int:
    """Raises BadAnswerError for a status other than 200, and when the length is not told."""
    status, *lines = head.split(b"\r\n")
    if not status.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")):
        raise BadAnswerError(status.decode(errors="replace"))
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    raise BadAnswerError("no Content-Length")
