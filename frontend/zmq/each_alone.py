"""The requests of one message, made one by one: where there is no lane with columns for their rows."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from frontend.bodies.body_options import BodyOptions
from frontend.bodies.tensor_message import TensorRequest
from frontend.call import Call
from frontend.catalog import Version
from frontend.front_end import FrontEnd
from frontend.inference_request import UNKNOWN, InferenceRequest
from frontend.request_body import Answer, AnswerFormat, RequestBody
from frontend.row_group import Elsewhere
from frontend.tensors import Tensor
from frontend.zmq.bodies import PredictBody
from ringserve.errors import ServingError
from ringserve.handle import ServableHandle
from ringserve.servable import ServableId
from ringserve.signature import Signature

_NOTHING: Final = Answer(b"")
_AT_ONCE: Final = 64  # that are begun before others have their turn


class EachAlone:
    """As many requests as the message has rows, or portions of them; all to one version, which one answer is of."""

    def __init__(
        self,
        front_end: FrontEnd,
        handle: ServableHandle[Version],
        request: TensorRequest,
        rows_each: int,
        options: BodyOptions,
        timeout: int,
        began: int,
    ) -> None:
        """`handle`: is to be held until `run` ends; `timeout` in ns from `began` on, 0: none."""
        self._front_end = front_end
        self._handle = handle
        self._request = request
        self._rows_each = rows_each
        self._options = options
        self._timeout = timeout
        self._began = began
        rows = next(iter(request.inputs.values())).shape[0]
        self._outputs: list[Sequence[Tensor] | None] = [None] * (rows // rows_each)
        self._failed: dict[int, Elsewhere] = {}
        self._left = len(self._outputs)
        self._ended = asyncio.Event()

    async def run(self) -> tuple[Sequence[Tensor] | None, Mapping[int, Elsewhere]]:
        """The outputs with the rows of all, None where none succeeded, and what failed; when all of them have ended."""
        for index in range(len(self._outputs)):
            call = _PinnedCall(self._front_end, self._handle, self._timeout, self._began)
            call.low = bool(self._request.low)
            _Row(call, self, index).begin(self._portion(index), self._options)
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        await self._ended.wait()
        return self._joined(), self._failed

    def _portion(self, index: int) -> TensorRequest:
        begin, end = index * self._rows_each, (index + 1) * self._rows_each
        inputs = {}
        for alias, tensor in self._request.inputs.items():
            array = tensor.data[begin:end]
            inputs[alias] = Tensor(tensor.dtype, (self._rows_each, *tensor.shape[1:]), array)
        return self._request._replace(inputs=inputs)

    def take(self, index: int, outputs: Sequence[Tensor]) -> None:
        """The outputs of one of them, views that are copied."""
        self._outputs[index] = [_copied(tensor) for tensor in outputs]

    def end(self, index: int, error: ServingError | None) -> None:
        """One of them has ended."""
        if error is not None:
            self._failed[index] = error
        self._left -= 1
        if not self._left:
            self._ended.set()

    def _joined(self) -> list[Tensor] | None:
        """Outputs whose shapes are not those of the first count as failed."""
        model = next((found for found in self._outputs if found is not None), None)
        if model is None:
            return None
        shapes = [tensor.shape for tensor in model]
        for index, found in enumerate(self._outputs):
            if found is not None and [tensor.shape for tensor in found] != shapes:
                self._failed[index] = list(found)
        rows = [model if found is None or index in self._failed else found for index, found in enumerate(self._outputs)]
        return [_concatenated(tensors) for tensors in zip(*rows, strict=True)]


class _PinnedCall(Call):
    """A call to a version that was found before, and that requests may find no longer."""

    __slots__ = ("_pinned",)

    def __init__(self, front_end: FrontEnd, handle: ServableHandle[Version], timeout: int, began: int) -> None:
        super().__init__(front_end, UNKNOWN, "predict", "ZMQ", timeout, began)
        self._pinned = handle

    def resolve(self, body: RequestBody, answer_format: AnswerFormat | None = None) -> None:
        """Raises ServingError."""
        handle = self._handle = self._pinned
        handle.holders += 1  # which `close` gives up
        signature = body.signature(handle.servable.signatures)
        self._endpoint = handle.servable.endpoint(signature.name)
        self._body = body
        self._format = answer_format or body


class _RowBody(PredictBody):
    """One of the requests; its outputs are kept."""

    def __init__(self, request: TensorRequest, options: BodyOptions, keep: Callable[[Sequence[Tensor]], None]) -> None:
        super().__init__(request, options)
        self._keep = keep

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        self._keep(outputs)
        return _NOTHING


class _Row(InferenceRequest):
    """One of the requests."""

    __slots__ = ("_index", "_owner")

    def __init__(self, call: Call, owner: EachAlone, index: int) -> None:
        super().__init__(call)
        self._owner = owner
        self._index = index

    def begin(self, request: TensorRequest, options: BodyOptions) -> None:
        """Resolve and submit it."""
        try:
            self._take(_RowBody(request, options, functools.partial(self._owner.take, self._index)))
        except Exception as error:
            self._fail(error)

    def _key(self) -> str | None:
        return None  # its version is known

    def _submit(self) -> None:
        self._call.submit(self._told)

    def _answer(self, answer: Answer) -> None:
        self._owner.end(self._index, None)

    def _refuse(self, error: ServingError) -> None:
        self._owner.end(self._index, error)


def _copied(tensor: Tensor) -> Tensor:
    return tensor if isinstance(tensor.data, list) else tensor._replace(data=tensor.data.copy())


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    shape = (first.shape[0] * len(tensors), *first.shape[1:]) if first.shape else (len(tensors),)
    if isinstance(first.data, list):
        return Tensor(first.dtype, shape, [text for tensor in tensors for text in tensor.data])
    return Tensor(first.dtype, shape, np.concatenate([np.atleast_1d(tensor.data) for tensor in tensors]).reshape(shape))
