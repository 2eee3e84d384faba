"""An inference call over gRPC, from its message to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from frontend.bodies.body_options import BodyOptions
from frontend.call import Call
from frontend.catalog import ModelSpec
from frontend.failure import as_serving_error
from frontend.front_end import FrontEnd
from frontend.grpc.rpc import UnaryRpc, code_of_the_gone
from frontend.heavy_work import in_thread, is_heavy_answer
from frontend.request_body import RequestBody
from ringserve.errors import Code, ServingError

#: Metadata: requests of a label that is split go the same way where this is the same.
KEY: Final = "x-ringserve-key"

_UNKNOWN: Final = ModelSpec("")


class GrpcBody(RequestBody, Protocol):
    """A message that asks for inference."""

    spec: ModelSpec


class BodyKind(Protocol):
    """Reads one. Raises ServingError."""

    def __call__(self, message: bytes, options: BodyOptions, /) -> GrpcBody: ...


class Inference:
    """One method of PredictionService. `api`: as it is counted; `is_long`: does it take long to read this message?"""

    def __init__(
        self, front_end: FrontEnd, options: BodyOptions, api: str, kind: BodyKind, is_long: Callable[[bytes], bool]
    ) -> None:
        self.front_end = front_end
        self.options = options
        self.api = api
        self.read = kind
        self.is_long = is_long

    def begin(self, rpc: UnaryRpc) -> None:
        """A call's message is there."""
        Exchange(self, rpc).begin()


class Exchange:
    """Its call is closed when the RPC has its answer, or is gone."""

    __slots__ = ("_call", "_method", "_rpc", "_task")

    def __init__(self, method: Inference, rpc: UnaryRpc) -> None:
        self._method = method
        self._rpc = rpc
        self._call = Call(method.front_end, _UNKNOWN, method.api, "GRPC", rpc.timeout, rpc.began)
        self._task: asyncio.Task[None] | None = None
        rpc.gone = self._cancel

    def begin(self) -> None:
        """Decode, resolve and submit; what takes long goes to a task."""
        rpc, method, call = self._rpc, self._method, self._call
        message, rpc.message = rpc.message, b""
        try:
            if method.is_long(message):
                self._task = asyncio.get_running_loop().create_task(self._run(message))
                return
            body = method.read(message, method.options)
            del message
            self._resolve(body)
            if not body.heavy:
                call.read_inputs()
                if call.can_be_told:
                    call.submit(self._told)
                    return
            self._task = asyncio.get_running_loop().create_task(self._run())
        except Exception as error:
            self._fail(error)

    def _resolve(self, body: GrpcBody) -> None:
        spec = body.spec
        self._call.spec = spec if spec.label is None else spec._replace(key=self._rpc.metadata(KEY))
        self._call.resolve(body)

    def _told(self, error: ServingError | None) -> None:
        """The request is completed, or has ended in an error. Raises nothing: others are told next."""
        if error is not None:
            self._fail(error)
            return
        try:
            if is_heavy_answer(self._call.read_outputs()):
                self._task = asyncio.get_running_loop().create_task(self._run())
            else:
                self._finish(self._call.encode().body)
        except Exception as unforeseen:
            self._fail(unforeseen)

    async def _run(self, message: bytes | None = None) -> None:
        """All that has not been done yet."""
        call, method = self._call, self._method
        try:
            if message is not None:
                body = await in_thread(method.read, message, method.options)
                del message
                self._resolve(body)
                del body
            if not call.has_inputs:
                await in_thread(call.read_inputs)
            await call.run()
            heavy = is_heavy_answer(call.read_outputs())
            self._finish((await in_thread(call.encode) if heavy else call.encode()).body)
        except Exception as error:
            self._fail(error)
        except BaseException:
            self._call.close(Code.CANCELLED)
            raise

    def _finish(self, answer: bytes) -> None:
        self._call.close()
        self._rpc.finish(answer)

    def _fail(self, error: Exception) -> None:
        serving = as_serving_error(error)
        self._call.close(serving.code)
        self._rpc.fail(serving)

    def _cancel(self) -> None:
        """The client has gone, or its deadline is over: the request is dropped before it runs, if there is time."""
        rpc = self._rpc
        self._call.close(code_of_the_gone(rpc.timeout, rpc.began))
        if self._task is not None:
            self._task.cancel()
