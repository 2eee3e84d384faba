"""Requests of one pattern that came together: into the lane in one piece, and out of it with an answer for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from frontend.bodies.body_options import BodyOptions
from frontend.bodies.tensor_body import chosen
from frontend.bodies.tensor_message import INLINE_BELOW, NamedOutput, answer_frames, answer_heads
from frontend.catalog import Version
from frontend.failure import as_serving_error
from frontend.front_end import FrontEnd
from frontend.row_group import Elsewhere, RowGroup
from frontend.tensors import Array, Tensor
from frontend.zmq.bodies import predict_spec
from frontend.zmq.burst import Burst
from frontend.zmq.reply import Replies, error_message
from ringserve.errors import Code, ServingError
from ringserve.predict_checks import check_dtypes, check_method_name, rest_signature
from ringserve.signature import DEFAULT_SIGNATURE, Signature

_NO_ID: Final = b"\xa2id\xc0"
#: Fewer than these are quicker one by one.
FEW: Final = 4


class AlikeRequests:
    """`begin` them; those that can't go together have to be made one by one."""

    def __init__(self, front_end: FrontEnd, burst: Burst, replies: Replies, options: BodyOptions, timeout: int) -> None:
        """`timeout` in ns: the server's own."""
        request = burst.pattern.request
        if request.timeout is not None and (request.timeout < timeout or not timeout):
            timeout = request.timeout
        spec = predict_spec(request)
        self._group = RowGroup(front_end, spec, "predict", "ZMQ", timeout, time.monotonic_ns(), bool(request.low))
        self._burst = burst
        self._replies = replies
        self._options = options
        self._signature: Signature
        self._chosen: Sequence[int] = ()

    def begin(self, expect: Callable[[], None]) -> bool:
        """False: they can't go together, and nothing was done. Otherwise `expect` was called, and they get their answers."""
        pattern, group = self._burst.pattern, self._group
        form, rows_each = pattern.form, pattern.input_shape[0]
        try:
            self._signature = group.resolve(self._find)
            self._chosen = chosen(pattern.request.outputs, self._signature)
            together = group.can_be_together(form, rows_each)
        except ServingError:
            together = False  # each of them will hear why
        if not together:
            group.drop()
            return False
        expect()
        group.submit(form, [self._burst.rows], rows_each, self._done)
        return True

    def _find(self, version: Version) -> Signature:
        """With the checks of every predict request. Raises ServingError."""
        request = self._burst.pattern.request
        signature = rest_signature(request.signature or DEFAULT_SIGNATURE, version.signatures)
        if self._options.check_method:
            check_method_name(signature)
        if len(signature.inputs) != 1 or signature.inputs[0].alias not in request.inputs:
            raise ServingError(Code.INVALID_ARGUMENT, "")  # as each of them will hear in other words, or has default values
        check_dtypes([self._burst.pattern.dtype.number], signature)
        return signature

    def _done(self) -> None:
        """All are completed, or have failed. Raises nothing: others are told next."""
        group, replies = self._group, self._replies
        try:
            outputs, elsewhere = group.answers()
            answers = None if elsewhere else self._small(outputs)
            parts = None if answers else [self._one(index, outputs, elsewhere) for index in range(len(self._burst))]
        except Exception as error:
            serving = as_serving_error(error)
            group.close(serving.code)
            message = error_message(None, serving)
            replies.send([_with_id(packed.tobytes(), message) for packed in self._burst.packed_ids])
            return
        group.close()
        if answers:
            replies.send(answers)
        elif parts:
            replies.send_parts(parts)

    def _small(self, outputs: Sequence[Array]) -> list[bytes] | None:
        """All answers, which differ in their ids and their outputs' bytes. None: they are not small, or have no outputs."""
        count, rows_each = len(self._burst), self._burst.pattern.input_shape[0]
        specs = self._signature.outputs
        first = [
            Tensor(spec.dtype, (rows_each, *array.shape[1:]), array[:rows_each])
            for spec, array in zip(specs, outputs, strict=True)
        ]
        named = self._named(first)
        if not named or any(not 0 < output.tensor.data.nbytes < INLINE_BELOW for output in named):  # type: ignore[union-attr]
            return None
        before, heads = answer_heads(self._group.servable, self._signature, named)
        pieces: list[Array] = [np.frombuffer(before, np.uint8), self._burst.packed_ids]
        for head, which in zip(heads, self._chosen, strict=True):
            numbers = outputs[which].reshape(-1).view(np.uint8).reshape(count, -1)
            pieces += [np.frombuffer(head, np.uint8), numbers]
        width = sum(piece.shape[-1] for piece in pieces)
        whole = np.empty((count, width), np.uint8)
        at = 0
        for piece in pieces:
            whole[:, at : at + piece.shape[-1]] = piece
            at += piece.shape[-1]
        joined = whole.tobytes()
        return [joined[begin : begin + width] for begin in range(0, len(joined), width)]

    def _one(self, index: int, outputs: Sequence[Array], elsewhere: dict[int, Elsewhere]) -> Sequence[bytes]:
        found = elsewhere.get(index)
        packed = self._burst.packed_ids[index].tobytes()
        if isinstance(found, ServingError):
            return (_with_id(packed, error_message(None, found)),)
        if found is None:
            rows = self._burst.pattern.input_shape[0]
            pieces = [array[index * rows : (index + 1) * rows] for array in outputs]
            found = [
                Tensor(spec.dtype, piece.shape, piece) for spec, piece in zip(self._signature.outputs, pieces, strict=True)
            ]
        head, *frames = answer_frames(None, self._group.servable, self._signature, self._named(found))
        return [_with_id(packed, head), *frames]

    def _named(self, tensors: Sequence[Tensor]) -> list[NamedOutput]:
        outputs = self._signature.outputs
        return [NamedOutput(outputs[index].alias, tensors[index]) for index in self._chosen]


def _with_id(packed: bytes, message: bytes) -> bytes:
    """An answer whose id is nil, with this one instead."""
    at = message.index(_NO_ID) + len(_NO_ID) - 1
    return b"".join((message[:at], packed, message[at + 1 :]))
