"""One request of a stream, from its bytes to its result."""

from __future__ import annotations

import asyncio
import functools
from typing import Protocol

from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.call import Call
from frontend.front_end import FrontEnd
from frontend.grpc.predict_body import SHORT, PredictBody, is_long
from frontend.grpc.streamed_messages import failed_result, plain_request_at, request_at, result_head
from frontend.heavy_work import in_thread
from frontend.inference_request import UNKNOWN, InferenceRequest
from frontend.request_body import Answer
from ringserve.errors import Code, ServingError


class Owner(Protocol):
    """The stream, as its requests see it. `key`: of labels that split their requests; `low`: are they of low priority?
    `odd`: held while a thread reads a request that no client writes, as threads that are many leave the loop little of its
    time.
    """

    front_end: FrontEnd
    options: BodyOptions
    key: str | None
    low: bool
    odd: asyncio.Lock

    def can_wait(self) -> bool:
        """Is another request of the stream in a lane, so that there will be room?"""

    def answered(self, call: StreamedCall, size: int) -> None:
        """The request has its result, of so many bytes."""


class StreamedCall(InferenceRequest):
    """`begin` it; it tells its owner when it has a `result`, the parts of what a StreamedResults has for it. `close` it if
    nobody wants that any more.

    `told`: it is in a lane, and told of its completion; `kept_out`: its lane is full, `submit` is to be called again.
    """

    __slots__ = ("_owner", "kept_out", "result", "size", "told")

    def __init__(self, owner: Owner, timeout: int, began: int) -> None:
        """`timeout` in ns from `began` on, 0: none; `began`: ns of CLOCK_MONOTONIC."""
        super().__init__(Call(owner.front_end, UNKNOWN, "predict", "GRPC", timeout, began))
        self._call.low = owner.low
        self._owner = owner
        self.result: tuple[bytes, ...] | None = None
        self.size = 0  # bytes: of the request, later of the result; its owner's word
        self.told = False
        self.kept_out = False

    def begin(self, message: bytes, at: int, end: int) -> None:
        """Decode, resolve and submit the request that lies in a message there."""
        self.size = end - at
        try:
            found = plain_request_at(message, at, end)
            if found is None:
                if end - at > SHORT:
                    self._work(self._run(functools.partial(self._look, message, at, end)))
                    return
                found = request_at(message, at, end)
            request, timeout = found
            del found
            if timeout:
                self._call.limit(timeout)
            if is_long(request):
                self._work(self._run(functools.partial(self._read, request)))
                return
            body = PredictBody(request, self._owner.options)
            del request
            self._take(body)
        except Exception as error:
            self._fail(error)

    async def _look(self, message: bytes, at: int, end: int) -> PredictBody:
        """For the request, where that takes long, and read it."""
        async with self._owner.odd:
            request, timeout = await in_thread(request_at, message, at, end)
        del message
        if timeout:
            self._call.limit(timeout)
        return await self._read(request)

    async def _read(self, request: Buffer) -> PredictBody:
        async with self._owner.odd:
            return await in_thread(PredictBody, request, self._owner.options)

    def _key(self) -> str | None:
        return self._owner.key

    def submit(self) -> None:
        """Into its lane; where that is full, and a request before it will make room, it is kept out for now."""
        try:
            self._call.submit(self._told)
            self.told = True
            self.kept_out = False
        except ServingError as error:
            self.kept_out = error.code is Code.UNAVAILABLE and self._owner.can_wait()
            if not self.kept_out:
                self._fail(error)

    _submit = submit

    def _answer(self, answer: Answer) -> None:
        message = answer.body
        head = result_head(len(message))
        self.result = (head, message)
        self._owner.answered(self, len(head) + len(message))

    def _refuse(self, error: ServingError) -> None:
        result = failed_result(error)
        self.result = (result,)
        self._owner.answered(self, len(result))

    def close(self, code: Code) -> None:
        """The client has gone: the request is dropped before it runs, if there is time."""
        self._call.close(code)
        if self._task is not None:
            self._task.cancel()
