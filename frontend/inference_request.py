"""A request for inference from its message to its answer, whether it comes by itself or shares a stream or a message."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from frontend.call import Call
from frontend.catalog import ModelSpec
from frontend.failure import as_serving_error
from frontend.heavy_work import in_thread, is_heavy_answer
from frontend.request_body import Answer, RequestBody
from frontend.tensors import Tensor
from ringserve.errors import ServingError

#: What a request asks for as long as nobody knows.
UNKNOWN: Final = ModelSpec("")


class AskingMessage(RequestBody, Protocol):
    """A message that asks for inference."""

    spec: ModelSpec


class InferenceRequest:
    """Whatever takes long is done in a task."""

    __slots__ = ("_call", "_task")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def _key(self) -> str | None:
        """What the client sent, so that requests of a label that is split go the same way."""

    @abstractmethod
    def _submit(self) -> None:
        """Into a lane, to have `_told` called. Raises ServingError."""

    @abstractmethod
    def _answer(self, answer: Answer) -> None:
        """The request has its answer; its call is closed."""

    @abstractmethod
    def _refuse(self, error: ServingError) -> None:
        """The request has failed; its call is closed."""

    @staticmethod
    def _takes_long(outputs: Sequence[Tensor]) -> bool:
        """Is the answer better written in a thread?"""
        return is_heavy_answer(outputs)

    def _take(self, body: AskingMessage) -> None:
        """Resolve and submit what was read. Raises ServingError."""
        call = self._call
        self._resolve(body)
        if not body.heavy:
            call.read_inputs()
            if call.can_be_told:
                self._submit()
                return
        self._work(self._run())

    def _resolve(self, body: AskingMessage) -> None:
        spec = body.spec
        self._call.spec = spec if spec.label is None else spec._replace(key=self._key())
        self._call.resolve(body)

    def _work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(coroutine)

    def _told(self, error: ServingError | None) -> None:
        """The request is completed, or has ended in an error. Raises nothing: others are told next."""
        if error is not None:
            self._fail(error)
            return
        call = self._call
        try:
            if self._takes_long(call.read_outputs()):
                self._work(self._run())
            else:
                self._finish(call.encode())
        except Exception as unforeseen:
            self._fail(unforeseen)

    async def _run(self, read: Callable[[], Awaitable[AskingMessage]] | None = None) -> None:
        """All that has not been done yet."""
        call = self._call
        try:
            if read is not None:
                self._resolve(await read())
                del read  # and the message with it
            if not call.has_inputs:
                await in_thread(call.read_inputs)
            await call.run()
            long = self._takes_long(call.read_outputs())
            self._finish(await in_thread(call.encode) if long else call.encode())
        except Exception as error:
            self._fail(error)

    def _finish(self, answer: Answer) -> None:
        self._call.close()
        self._answer(answer)

    def _fail(self, error: Exception) -> None:
        serving = as_serving_error(error)
        self._call.close(serving.code)
        self._refuse(serving)
