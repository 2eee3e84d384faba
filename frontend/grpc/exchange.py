"""A call for inference, with one message and one answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

from frontend.bodies.body_options import BodyOptions
from frontend.call import Call
from frontend.front_end import FrontEnd
from frontend.grpc.rpc import KEY, PRIORITY, UnaryRpc, code_of_the_gone, is_low_call
from frontend.heavy_work import in_thread
from frontend.inference_request import UNKNOWN, AskingMessage, InferenceRequest
from frontend.request_body import Answer
from ringserve.errors import ServingError


class BodyKind(Protocol):
    """Reads one. Raises ServingError."""

    def __call__(self, message: bytes, options: BodyOptions, /) -> AskingMessage: ...


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


class Exchange(InferenceRequest):
    """Its call is closed when the RPC has its answer, or is gone."""

    __slots__ = ("_method", "_rpc")

    def __init__(self, method: Inference, rpc: UnaryRpc) -> None:
        super().__init__(Call(method.front_end, UNKNOWN, method.api, "GRPC", rpc.timeout, rpc.began))
        self._method = method
        self._rpc = rpc
        rpc.gone = self._cancel

    def begin(self) -> None:
        """Decode, resolve and submit."""
        rpc, method = self._rpc, self._method
        message, rpc.message = rpc.message, b""
        try:
            self._call.low = is_low_call(rpc.metadata(PRIORITY))
            if method.is_long(message):
                self._work(self._run(functools.partial(in_thread, method.read, message, method.options)))
            else:
                self._take(method.read(message, method.options))
        except Exception as error:
            self._fail(error)

    def _key(self) -> str | None:
        return self._rpc.metadata(KEY)

    def _submit(self) -> None:
        self._call.submit(self._told)

    def _answer(self, answer: Answer) -> None:
        self._rpc.finish(answer.body)

    def _refuse(self, error: ServingError) -> None:
        self._rpc.fail(error)

    def _cancel(self) -> None:
        """The client has gone, or its deadline is over: the request is dropped before it runs, if there is time."""
        rpc = self._rpc
        self._call.close(code_of_the_gone(rpc.timeout, rpc.began))
        if self._task is not None:
            self._task.cancel()
