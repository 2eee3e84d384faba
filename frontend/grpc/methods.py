"""Calls of methods that are answered by a function or a coroutine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from frontend.failure import as_serving_error
from frontend.grpc.rpc import UnaryRpc
from frontend.request_counters import RequestCounters
from ringserve.errors import Code

#: From a call whose message is there to a serialised answer. Raises ServingError.
Handler = Callable[[UnaryRpc], bytes | Awaitable[bytes]]


class Method:
    """One that takes its time gets a task, which is cancelled when the client goes."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def begin(self, rpc: UnaryRpc) -> None:
        """A call's message is there."""
        try:
            answer = self._handler(rpc)
        except Exception as error:
            self._fail(rpc, error)
            return
        if isinstance(answer, bytes):
            self._finish(rpc, answer)
        else:
            task = asyncio.get_running_loop().create_task(self._wait(rpc, answer))
            rpc.gone = lambda: _cancel(task)

    async def _wait(self, rpc: UnaryRpc, answer: Awaitable[bytes]) -> None:
        try:
            self._finish(rpc, await answer)
        except asyncio.CancelledError:
            self.count(rpc, Code.CANCELLED)
            raise
        except Exception as error:
            self._fail(rpc, error)

    def _finish(self, rpc: UnaryRpc, answer: bytes) -> None:
        self.count(rpc, Code.OK)
        rpc.finish(answer)

    def _fail(self, rpc: UnaryRpc, error: Exception) -> None:
        serving = as_serving_error(error)
        self.count(rpc, serving.code)
        rpc.fail(serving)

    def count(self, rpc: UnaryRpc, code: Code) -> None:
        """The call has ended. Inference counts itself."""


class Lookup(Method):
    """A method that asks for no inference: its calls are counted without a model."""

    def __init__(self, counters: RequestCounters, api: str, handler: Callable[[bytes], bytes | Awaitable[bytes]]) -> None:
        super().__init__(lambda rpc: handler(taken(rpc)))
        self._counters = counters
        self._api = api

    def count(self, rpc: UnaryRpc, code: Code) -> None:
        meter = self._counters.meter("", None, "", self._api, "GRPC")
        took = time.monotonic_ns() - rpc.began
        if code is Code.OK:
            meter.ok(0, 0, took)
        else:
            meter.failed(code, took)


def taken(rpc: UnaryRpc) -> bytes:
    """The call's message, which the call itself keeps no longer."""
    message, rpc.message = rpc.message, b""
    return message


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
