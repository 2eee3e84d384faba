"""Heads of requests that aiohttp's parser has understood before: the same bytes mean the same again.

A client sends the same head with every request, or one of a few. Parsing it anew, with the objects that come of it, is
nearly a quarter of a small request's time in the front end. A head is known only where the parser took it at the beginning
of a message, and is looked up only where the parser would be at the beginning of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiohttp import HttpVersion11, hdrs
from aiohttp.http_parser import RawRequestMessage

from frontend.rest.target import INFERENCE, Target, parse_target
from ringserve.errors import ServingError

_END: Final = b"\r\n\r\n"
_LONGEST: Final = 2048  # bytes of a head that is kept
_MOST: Final = 256  # heads that are kept: the oldest goes first


class KnownHead(NamedTuple):
    """What a head asks for; `length`: of the body that follows it, in bytes."""

    target: Target
    headers: Mapping[str, str]
    length: int


class KnownHeads:
    """Of all connections of a front end."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def find(self, data: bytes) -> tuple[KnownHead | None, int]:
        """The head with which these bytes begin, if it is known, and where its body begins."""
        end = data.find(_END, 0, _LONGEST) + len(_END)
        return self._heads.get(data[:end]), end

    def learn(self, head: bytes, message: Any, length: int) -> None:
        """`message`: what the parser made of it; only heads of plain inference requests are kept."""
        target = plain_target(message) if len(head) <= _LONGEST and hdrs.EXPECT not in message.headers else None
        if target is None:
            return
        if head not in self._heads and len(self._heads) >= _MOST:
            del self._heads[next(iter(self._heads))]
        self._heads[head] = KnownHead(target, message.headers, length)


def plain_target(message: Any) -> Target | None:
    """What a request for inference asks for, if nothing about its head is unusual; else None."""
    if (
        type(message) is not RawRequestMessage
        or message.method != "POST"
        or message.should_close
        or message.version != HttpVersion11
        or message.upgrade
        or hdrs.CONTENT_ENCODING in message.headers
    ):
        return None
    try:
        target = parse_target("POST", message.path)
    except ServingError:
        return None
    return target if target is not None and target.what in INFERENCE else None


def body_length(message: Any) -> int | None:
    """Bytes that follow this message's head; None where only the parser knows."""
    if type(message) is not RawRequestMessage or message.chunked or message.upgrade:
        return None
    text = message.headers.get(hdrs.CONTENT_LENGTH, "0")
    return int(text) if text.isascii() and text.isdigit() else None


class Boundary:
    """Where one connection's parser is: at the beginning of a message, or so many bytes before it, or nobody knows.

    Once that is not known it never is again.
    """

    __slots__ = ("_heads", "_rest")

    def __init__(self, heads: KnownHeads) -> None:
        self._heads = heads
        self._rest: int | None = 0

    @property
    def reached(self) -> bool:
        """Would the next byte begin a message?"""
        return self._rest == 0

    def passed(self, data: bytes, messages: Any, known: int) -> None:
        """The parser was given these bytes; `messages`: those that nobody has taken, `known`: so many before."""
        if self._rest is None or not data:
            return
        if self._rest:
            self._rest = self._rest - len(data) if len(data) <= self._rest and len(messages) == known else None
            return
        length = body_length(messages[-1][0]) if len(messages) == known + 1 else None
        end = data.find(_END) + len(_END)
        # Empty lines before a head belong to none, and two of them look like its end.
        if length is None or end < len(_END) or len(data) > end + length or data[:1] in b"\r\n":
            self._rest = None
            return
        self._rest = end + length - len(data)
        self._heads.learn(data[:end], messages[-1][0], length)
