"""Predict over a stream: /ringserve.StreamingPrediction/Predict. What clients may count on, ringserve/streaming.proto says.

Requests go into their lanes as they come, and are encoded as they complete, whichever of them that is: slots are scarce.
Results go out in the requests' order, and all that are there when the transport has taken the last message share the next
one, so that a busy stream has large messages and a quiet one waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic_ns
from typing import Final

from frontend.bodies.body_options import BodyOptions
from frontend.front_end import FrontEnd
from frontend.grpc.rpc import KEY, PRIORITY, code_of_the_gone, is_low_call
from frontend.grpc.stream import Stream
from frontend.grpc.streamed_call import StreamedCall
from frontend.grpc.streamed_messages import requests_in
from ringserve.errors import ServingError

_MOST_UNANSWERED: Final = 1024  # requests of a stream
#: Of requests without a result, of results that nobody has taken, and of results that are to be expected. It keeps one
#: stream from filling a lane of large rows, too.
_MOST_BYTES: Final = 16 << 20
_FIRST_EXPECTED: Final = 64 << 10  # bytes of a result, before there was one
_MESSAGE_BYTES: Final = 1 << 20  # of results that share a message
TURN: Final = 2_000_000  # ns of the loop's time that a stream takes before others have theirs


class PredictStream:
    """The method's handler."""

    def __init__(self, front_end: FrontEnd, options: BodyOptions) -> None:
        self._front_end = front_end
        self._options = options

    async def __call__(self, stream: Stream) -> None:
        """Answer everything. Raises ServingError (INVALID_ARGUMENT) at a message that can't be parsed."""
        await Conversation(self._front_end, self._options, stream).run()


class Conversation:
    """One stream's requests and results. Implements `frontend.grpc.streamed_call.Owner`."""

    def __init__(self, front_end: FrontEnd, options: BodyOptions, stream: Stream) -> None:
        """Raises ServingError (INVALID_ARGUMENT) for a priority that there is not."""
        self.front_end = front_end
        self.options = options
        self.key = stream.metadata(KEY)
        self.low = is_low_call(stream.metadata(PRIORITY))
        self.odd = asyncio.Lock()
        self._stream = stream
        self._timeout, self._began = stream.timeout, monotonic_ns()
        self._loop = asyncio.get_running_loop()
        self._calls: deque[StreamedCall] = deque()  # those whose results were not handed to the transport, in order
        self._unanswered = 0  # of these: they have no result yet
        self._held = 0  # bytes of requests and results
        self._expected = _FIRST_EXPECTED
        self._turn = TURN  # what is left of it
        self._reader: asyncio.Future[None] | None = None  # it waits for progress
        self._writer: asyncio.Future[None] | None = None  # it waits for the first result
        self._ended = False  # nothing more will be read
        self._error: ServingError | None = None  # what the stream ends in

    async def run(self) -> None:
        """Raises ServingError."""
        tasks = [self._loop.create_task(self._read()), self._loop.create_task(self._write())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            self._close()
            await asyncio.wait(tasks)
        if self._error is not None:
            raise self._error

    async def _read(self) -> None:
        try:
            while True:
                message = await self._stream.read()
                if message is None:
                    break
                await self._begin(message)
                del message  # also while the next one is waited for
        except ServingError as error:
            self._error = error
        self._ended = True
        _wake(self._writer)

    async def _begin(self, message: bytes) -> None:
        """All of a message's requests. Raises ServingError (INVALID_ARGUMENT) at bytes that are none."""
        began = now = monotonic_ns()
        timeout = max(self._began + self._timeout - began, 1) if self._timeout else 0
        over = began + self._turn
        for found in requests_in(message):
            if found is not None:
                at, end = found
                while len(self._calls) >= _MOST_UNANSWERED or self._held + self._unanswered * self._expected >= _MOST_BYTES:
                    await self._progress()
                call = StreamedCall(self, timeout, began)
                self._calls.append(call)
                self._unanswered += 1
                self._held += end - at
                call.begin(message, at, end)
                while call.kept_out:
                    await self._progress()
                    call.submit()
            now = monotonic_ns()
            if now >= over:
                await asyncio.sleep(0)
                now = monotonic_ns()
                over = now + TURN
        self._turn = over - now

    async def _progress(self) -> None:
        """Wait until there is another result, or some were taken."""
        self._reader = self._loop.create_future()
        await self._reader
        self._reader = None

    def can_wait(self) -> bool:
        return any(call.told and call.result is None for call in self._calls)

    def answered(self, call: StreamedCall, size: int) -> None:
        self._unanswered -= 1
        self._held += size - call.size
        call.size = size
        # The largest of late: one that comes now and then counts for some time.
        self._expected = max(size, self._expected - (self._expected >> 4))
        if self._writer is not None and call is self._calls[0]:
            _wake(self._writer)
        if self._reader is not None:
            _wake(self._reader)

    async def _write(self) -> None:
        """Results as they come, until all are written."""
        calls = self._calls
        while calls or not self._ended:
            if not calls or calls[0].result is None:
                self._writer = self._loop.create_future()
                await self._writer
                self._writer = None
                continue
            parts: list[bytes] = []
            size = 0
            while calls and size < _MESSAGE_BYTES and (result := calls[0].result) is not None:
                parts += result
                size += calls.popleft().size
            message = b"".join(parts)
            del parts, result
            await self._stream.write(message)
            del message
            self._held -= size
            _wake(self._reader)

    def _close(self) -> None:
        """Nobody wants what has no result yet."""
        code = code_of_the_gone(self._timeout, self._began)
        for call in self._calls:
            call.close(code)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
