"""One request of a stream, from its bytes to its result."""

from __future__ import annotations

import asyncio
from typing import Protocol

from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.call import Call
from frontend.catalog import ModelSpec
from frontend.failure import as_serving_error
from frontend.front_end import FrontEnd
from frontend.grpc.predict_body import SHORT, PredictBody, is_long
from frontend.grpc.streamed_messages import failed_result, plain_request_at, request_at, result_head
from frontend.heavy_work import in_thread, is_heavy_answer
from ringserve.errors import Code, ServingError

_UNKNOWN = ModelSpec("")


class Owner(Protocol):
    """The stream, as its requests see it. `key`: of labels that split their requests; `odd`: held while a thread reads a
    request that no client writes, as threads that are many leave the loop little of its time.
    """

    front_end: FrontEnd
    options: BodyOptions
    key: str | None
    odd: asyncio.Lock

    def can_wait(self) -> bool:
        """Is another request of the stream in a lane, so that there will be room?"""

    def answered(self, call: StreamedCall, size: int) -> None:
        """The request has its result, of so many bytes."""


class StreamedCall:
    """`begin` it; it tells its owner when it has a `result`, the parts of what a StreamedResults has for it. `close` it if
    nobody wants that any more.

    `told`: it is in a lane, and told of its completion; `kept_out`: its lane is full, `submit` is to be called again.
    """

    __slots__ = ("_call", "_owner", "_task", "kept_out", "result", "size", "told")

    def __init__(self, owner: Owner, timeout: int, began: int) -> None:
        """`timeout` in ns from `began` on, 0: none; `began`: ns of CLOCK_MONOTONIC."""
        self._owner = owner
        self._call = Call(owner.front_end, _UNKNOWN, "predict", "GRPC", timeout, began)
        self._task: asyncio.Task[None] | None = None
        self.result: tuple[bytes, ...] | None = None
        self.size = 0  # bytes: of the request, later of the result; its owner's word
        self.told = False
        self.kept_out = False

    def begin(self, message: bytes, at: int, end: int) -> None:
        """Decode, resolve and submit the request that lies in a message there; what takes long goes to a task."""
        call, owner = self._call, self._owner
        self.size = end - at
        try:
            found = plain_request_at(message, at, end)
            if found is None:
                if end - at > SHORT:
                    self._task = asyncio.get_running_loop().create_task(self._look(message, at, end))
                    return
                found = request_at(message, at, end)
            request, timeout = found
            del found
            if timeout:
                call.limit(timeout)
            if is_long(request):
                self._task = asyncio.get_running_loop().create_task(self._run(request))
                return
            body = PredictBody(request, owner.options)
            del request
            self._resolve(body)
            if not body.heavy:
                call.read_inputs()
                if call.can_be_told:
                    self.submit()
                    return
            self._task = asyncio.get_running_loop().create_task(self._run())
        except Exception as error:
            self._fail(error)

    def _resolve(self, body: PredictBody) -> None:
        spec = body.spec
        self._call.spec = spec if spec.label is None else spec._replace(key=self._owner.key)
        self._call.resolve(body)

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

    def _told(self, error: ServingError | None) -> None:
        """The request is completed, or has ended in an error. Raises nothing: others are told next."""
        if error is not None:
            self._fail(error)
            return
        call = self._call
        try:
            if is_heavy_answer(call.read_outputs()):
                self._task = asyncio.get_running_loop().create_task(self._run())
            else:
                self._finish(call.encode().body)
        except Exception as unforeseen:
            self._fail(unforeseen)

    async def _look(self, message: bytes, at: int, end: int) -> None:
        """For the request, where that takes long; and all that comes then."""
        try:
            async with self._owner.odd:
                request, timeout = await in_thread(request_at, message, at, end)
        except Exception as error:
            self._fail(error)
            return
        del message
        if timeout:
            self._call.limit(timeout)
        await self._run(request)

    async def _run(self, request: Buffer | None = None) -> None:
        """All that has not been done yet."""
        call = self._call
        try:
            if request is not None:
                async with self._owner.odd:
                    body = await in_thread(PredictBody, request, self._owner.options)
                del request
                self._resolve(body)
                del body
            if not call.has_inputs:
                await in_thread(call.read_inputs)
            await call.run()
            heavy = is_heavy_answer(call.read_outputs())
            self._finish((await in_thread(call.encode) if heavy else call.encode()).body)
        except Exception as error:
            self._fail(error)

    def _finish(self, response: bytes) -> None:
        self._call.close()
        head = result_head(len(response))
        self.result = (head, response)
        self._owner.answered(self, len(head) + len(response))

    def _fail(self, error: Exception) -> None:
        serving = as_serving_error(error)
        self._call.close(serving.code)
        result = failed_result(serving)
        self.result = (result,)
        self._owner.answered(self, len(result))

    def close(self, code: Code) -> None:
        """The client has gone: the request is dropped before it runs, if there is time."""
        self._call.close(code)
        if self._task is not None:
            self._task.cancel()
