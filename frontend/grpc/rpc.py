"""Calls over gRPC, from their first event to their status."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from frontend.failure import as_serving_error
from frontend.grpc.completion_queue import (
    CompletionQueue,
    receive_close,
    receive_message,
    received_message,
    send_answer,
    send_message,
    send_status,
    was_cancelled,
)
from frontend.grpc.status_text import truncated
from frontend.grpc.stream import Stream
from ringserve.errors import Code, ServingError
from ringserve.priority import METADATA, is_low

#: Metadata: requests of a label that is split go the same way where this is the same.
KEY: Final = "x-ringserve-key"
#: Metadata: "high", which is meant without it, or "low".
PRIORITY: Final = METADATA
_WHERE: Final = f"The metadata {METADATA}"

# Of a stream's messages that its handler has not read: further ones wait in the client.
_MOST_UNREAD: Final = 16
_MOST_UNREAD_BYTES: Final = 1 << 20

_AHEAD_NS: Final = 20_000_000
_LONGEST_NS: Final = 1 << 62  # a client that has no deadline sends one of centuries


def code_of_the_gone(timeout: int, began: int) -> Code:
    """What a call that its client has ended counts as; see `Rpc` for its times."""
    took = time.monotonic_ns() - began
    # The client's own clock may be ahead: its word often comes just before the deadline that it has told.
    return Code.DEADLINE_EXCEEDED if 0 < timeout <= took + (took >> 5) + _AHEAD_NS else Code.CANCELLED


def is_low_call(priority: str | None) -> bool:
    """Is a call of low priority, of which this is the metadata PRIORITY? Raises ServingError (INVALID_ARGUMENT)."""
    return priority is not None and is_low(priority, _WHERE)


class Rpc:
    """What all calls have. `began` in ns of CLOCK_MONOTONIC; `timeout` in ns from then on, 0: there is none."""

    __slots__ = ("_call", "_metadata", "_queue", "began", "timeout")

    def __init__(self, queue: CompletionQueue, event: Any) -> None:
        """In the queue's thread."""
        self._queue = queue
        self._call = event.call
        self._metadata = event.invocation_metadata
        self.began = time.monotonic_ns()
        left = int((event.call_details.deadline - time.time()) * 1e9)
        self.timeout = 0 if left >= _LONGEST_NS else max(left, 1)

    def metadata(self, name: str) -> str | None:
        """What the client sent beside its messages; `name` in small letters."""
        for key, value in self._metadata:
            if key == name and isinstance(value, str):
                return value
        return None


class UnaryRpc(Rpc):
    """One message, one answer. `begin` is called with the call when its message is there, and calls `finish` or `fail`;
    `gone`, which `begin` may set, is called if the client goes before that.
    """

    __slots__ = ("_begin", "gone", "message")

    def __init__(self, queue: CompletionQueue, event: Any, begin: Callable[[UnaryRpc], None]) -> None:
        super().__init__(queue, event)
        self.message = b""
        self.gone: Callable[[], None] | None = None
        self._begin: Callable[[UnaryRpc], None] | None = begin
        receive_message(self._call, self._received)

    def _received(self, event: Any) -> None:
        call = self._call
        message = received_message(event)
        if message is not None:
            self.message = message
            self._queue.do_now(self._start)
        else:
            self._queue.hand_over(self._refuse)
        receive_close(call, self._closed)  # only now: the request is on its way meanwhile

    def _closed(self, event: Any) -> None:
        if was_cancelled(event):
            self._queue.hand_over(self._end)

    def _start(self) -> None:
        begin, self._begin = self._begin, None
        if begin is not None and self._call is not None:
            try:
                begin(self)
            except Exception as error:
                self.fail(as_serving_error(error))

    def _refuse(self) -> None:
        self.fail(ServingError(Code.UNIMPLEMENTED, "The call requires exactly one request message"))

    def _end(self) -> None:
        """The client has cancelled, or its deadline is over."""
        self._call = None
        gone, self.gone = self.gone, None
        if gone is not None:
            gone()

    def finish(self, answer: bytes) -> None:
        """Nothing happens where the client is gone."""
        call, self._call = self._call, None
        self.gone = None
        if call is not None:
            send_answer(call, answer)

    def fail(self, error: ServingError) -> None:
        """As `finish`."""
        call, self._call = self._call, None
        self.gone = None
        if call is not None:
            send_status(call, error.code, truncated(error.message), first=True)


class StreamRpc(Rpc):
    """Messages both ways. Implements `frontend.grpc.stream.Stream`."""

    __slots__ = (
        "_closing",
        "_ended",
        "_lock",
        "_messages",
        "_paused",
        "_read",
        "_sent",
        "_task",
        "_told",
        "_unread",
        "_written",
    )

    def __init__(
        self,
        queue: CompletionQueue,
        event: Any,
        handler: Callable[[Stream], Awaitable[None]],
        begun: Callable[[StreamRpc, asyncio.Task[None]], None],
    ) -> None:
        """`begun` is told of the handler's task."""
        super().__init__(queue, event)
        self._lock = threading.Lock()  # of the next four, which the queue's thread writes too
        self._messages: deque[bytes | None] = deque()  # received and not read; None: the end
        self._unread = 0  # bytes of these
        self._paused = False  # there are enough of them: no more was asked for
        self._told = False  # the loop is going to look at them
        self._read: asyncio.Future[None] | None = None
        self._written: asyncio.Future[None] | None = None
        self._sent = False  # anything
        self._ended = False
        self._closing: ServingError | None = None
        self._task: asyncio.Task[None] | None = None
        receive_message(self._call, self._received)
        receive_close(self._call, self._closed)
        queue.hand_over(lambda: self._start(handler, begun))

    def _start(
        self, handler: Callable[[Stream], Awaitable[None]], begun: Callable[[StreamRpc, asyncio.Task[None]], None]
    ) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(handler))
        begun(self, self._task)

    async def _run(self, handler: Callable[[Stream], Awaitable[None]]) -> None:
        error: ServingError | None = None
        try:
            await handler(self)
        except asyncio.CancelledError:
            error = ServingError(Code.CANCELLED, "The call was cancelled")
        except Exception as unforeseen:
            error = as_serving_error(unforeseen)
        error = error or self._closing
        if not self._ended:
            self._ended = True
            code, text = (Code.OK, "") if error is None else (error.code, error.message)
            send_status(self._call, code, truncated(text), first=not self._sent)

    def _received(self, event: Any) -> None:
        message = received_message(event)
        with self._lock:
            self._messages.append(message)
            if message is not None:
                self._unread += len(message)
                self._paused = len(self._messages) >= _MOST_UNREAD or self._unread >= _MOST_UNREAD_BYTES
                if not self._paused:
                    receive_message(self._call, self._received)
            told, self._told = self._told, True
        if not told:
            self._queue.hand_over(self._look)

    def _look(self) -> None:
        self._told = False  # first: what comes from now on tells again
        if self._read is not None and not self._read.done():
            self._read.set_result(None)

    async def read(self) -> bytes | None:
        while not self._messages and self._closing is None:  # it may be told of a message that was read already
            self._read = asyncio.get_running_loop().create_future()
            await self._read
        if self._closing is not None:
            return None
        with self._lock:
            message = self._messages[0]
            if message is None:
                return None
            self._messages.popleft()
            self._unread -= len(message)
            if self._paused:
                self._paused = False
                receive_message(self._call, self._received)
        return message

    async def write(self, message: bytes) -> None:
        self._written = asyncio.get_running_loop().create_future()
        first, self._sent = not self._sent, True
        send_message(self._call, message, first, self._on_written)
        await self._written

    def _on_written(self, event: Any) -> None:
        # Whether it worked need not be asked: where it did not, the call's end is told.
        self._queue.hand_over(self._write_is_done)

    def _write_is_done(self) -> None:
        if self._written is not None and not self._written.done():
            self._written.set_result(None)

    def _closed(self, event: Any) -> None:
        if was_cancelled(event):
            self._queue.hand_over(self._end)

    def _end(self) -> None:
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    def close(self, error: ServingError) -> None:
        """Read no more messages, and end with this status once those that were read are answered."""
        self._closing = error
        if self._read is not None and not self._read.done():
            self._read.set_result(None)
