"""Where a request's answer goes: a message of its own, or one with those of others that came in one message with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgpack

from frontend.zmq.router import Router
from ringserve.errors import ServingError


class Reply(Protocol):
    """Is to be called once, with the parts of an answer: its header, and the frames that this speaks of."""

    def __call__(self, parts: Sequence[bytes]) -> None: ...


class Count:
    """Of requests that have no answer yet."""

    __slots__ = ("none_left", "outstanding")

    def __init__(self) -> None:
        self.outstanding = 0
        self.none_left: Callable[[], None] | None = None  # is called when the last one is answered

    def answered(self, requests: int) -> None:
        """So many more of them."""
        self.outstanding -= requests
        if self.none_left is not None and not self.outstanding:
            self.none_left()


class SingleReply:
    """To a request that came in a message of its own."""

    __slots__ = ("_count", "_delimited", "_identity", "_router")

    def __init__(self, router: Router, identity: bytes, delimited: bool, count: Count) -> None:
        self._router = router
        self._identity = identity
        self._delimited = delimited
        self._count = count
        count.outstanding += 1

    def __call__(self, parts: Sequence[bytes]) -> None:
        self._router.send(self._identity, self._delimited, parts)
        self._count.answered(1)


class Replies(Protocol):
    """To requests that are answered together."""

    def send(self, answers: Sequence[bytes]) -> None:
        """To each of them, in order, a small answer of one part."""

    def send_parts(self, answers: Sequence[Sequence[bytes]]) -> None:
        """To each of them, in order, the parts of its answer."""


class SingleReplies:
    """To requests that came in messages of their own, by whose clients' identities; they are not counted before `expect`."""

    __slots__ = ("_count", "_identities", "_router")

    def __init__(self, router: Router, identities: Sequence[bytes], count: Count) -> None:
        self._router = router
        self._identities = identities
        self._count = count

    def expect(self) -> None:
        """They will be answered."""
        self._count.outstanding += len(self._identities)

    def send(self, answers: Sequence[bytes]) -> None:
        self._router.send_each(self._identities, answers)
        self._count.answered(len(answers))

    def send_parts(self, answers: Sequence[Sequence[bytes]]) -> None:
        for identity, parts in zip(self._identities, answers, strict=True):
            self._router.send(identity, False, parts)
        self._count.answered(len(answers))


class VariousReplies:
    """To requests that came in one way or another."""

    __slots__ = ("_replies",)

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = replies

    def send(self, answers: Sequence[bytes]) -> None:
        for reply, answer in zip(self._replies, answers, strict=True):
            reply((answer,))

    def send_parts(self, answers: Sequence[Sequence[bytes]]) -> None:
        for reply, parts in zip(self._replies, answers, strict=True):
            reply(parts)


class SharedReply:
    """To each of the requests of one message: what is ready in one turn of the loop goes back in one array."""

    def __init__(self, router: Router, identity: bytes, delimited: bool, count: Count) -> None:
        self._router = router
        self._identity = identity
        self._delimited = delimited
        self._count = count
        self._ready: list[bytes] = []

    def expect(self, requests: int) -> None:
        """So many of them will be answered."""
        self._count.outstanding += requests

    def __call__(self, parts: Sequence[bytes]) -> None:
        if len(parts) > 1:  # frames are counted from the message's first one
            self._send((_array(parts[:1]), *parts[1:]), 1)
            return
        if not self._ready:
            asyncio.get_running_loop().call_soon(self._send_ready)
        self._ready.append(parts[0])

    def _send_ready(self) -> None:
        ready, self._ready = self._ready, []
        self._send((_array(ready),), len(ready))

    def send(self, answers: Sequence[bytes]) -> None:
        """To all of the message's requests at once: each answer is one part."""
        self._send((_array(answers),), len(answers))

    def send_parts(self, answers: Sequence[Sequence[bytes]]) -> None:
        """To all of them, the parts of each answer."""
        for parts in answers:
            self(parts)

    def _send(self, parts: Sequence[bytes], requests: int) -> None:
        self._router.send(self._identity, self._delimited, parts)
        self._count.answered(requests)


def _array(headers: Sequence[bytes]) -> bytes:
    return b"".join((msgpack.Packer().pack_array_header(len(headers)), *headers))


def error_message(identifier: Any, error: ServingError) -> bytes:
    """The answer of a request that failed. `identifier`: the request's id, None where it is not known."""
    fields = {"v": 1, "id": identifier, "code": int(error.code), "status": error.code.name, "error": error.message}
    message: bytes = msgpack.packb(fields, unicode_errors="surrogateescape")
    return message


def fact_message(identifier: Any, fields: dict[str, Any]) -> bytes:
    """The answer to a question about models."""
    message: bytes = msgpack.packb({"v": 1, "id": identifier, **fields}, unicode_errors="surrogateescape")
    return message
