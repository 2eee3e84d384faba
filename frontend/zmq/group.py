"""Requests of one pattern that came together: into the lane in one piece, and out of it with an answer for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from frontend.bodies.body_options import BodyOptions
from frontend.bodies.tensor_body import chosen
from frontend.bodies.tensor_message import INLINE_BELOW, NamedOutput, answer_frames, answer_heads
from frontend.catalog import Version
from frontend.failure import as_serving_error
from frontend.front_end import FrontEnd
from frontend.row_group import Elsewhere, RowGroup
from frontend.tensors import Array, Tensor
from frontend.zmq.bodies import predict_spec
from frontend.zmq.pattern import Pattern
from frontend.zmq.reply import Reply, error_message
from ringserve.errors import Code, ServingError
from ringserve.predict_checks import check_dtypes, check_method_name, rest_signature
from ringserve.signature import DEFAULT_SIGNATURE, Signature

_NO_ID: Final = b"\xa2id\xc0"
#: Fewer than these are quicker one by one.
FEW: Final = 4


class AlikeRequests:
    """`begin` them; those that can't go together have to be made one by one."""

    def __init__(self, front_end: FrontEnd, pattern: Pattern, options: BodyOptions, timeout: int) -> None:
        """`timeout` in ns: the server's own."""
        request = pattern.request
        if request.timeout is not None and (request.timeout < timeout or not timeout):
            timeout = request.timeout
        spec = predict_spec(request)
        self._group = RowGroup(front_end, spec, "predict", "ZMQ", timeout, time.monotonic_ns())
        self._pattern = pattern
        self._options = options
        self._replies: Sequence[tuple[Reply, bytes]] = ()
        self._signature: Signature
        self._chosen: Sequence[int] = ()

    def begin(self, messages: Sequence[bytes], replies: Sequence[Reply]) -> bool:
        """False: they can't go together, and nothing was done. Otherwise each reply gets its answer."""
        pattern, group = self._pattern, self._group
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
        self._replies = list(zip(replies, map(pattern.packed_id, messages), strict=True))
        group.submit(form, [pattern.rows(messages)], rows_each, self._done)
        return True

    def _find(self, version: Version) -> Signature:
        """With the checks of every predict request. Raises ServingError."""
        request = self._pattern.request
        signature = rest_signature(request.signature or DEFAULT_SIGNATURE, version.signatures)
        if self._options.check_method:
            check_method_name(signature)
        if len(signature.inputs) != 1 or signature.inputs[0].alias not in request.inputs:
            raise ServingError(Code.INVALID_ARGUMENT, "")  # as each of them will hear in other words, or has default values
        check_dtypes([self._pattern.dtype.number], signature)
        return signature

    def _done(self) -> None:
        """All are completed, or have failed. Raises nothing: others are told next."""
        group, replies = self._group, self._replies
        try:
            outputs, elsewhere = group.answers()
            answers = self._answers(outputs, elsewhere)
        except Exception as error:
            serving = as_serving_error(error)
            group.close(serving.code)
            for reply, packed in replies:
                reply((_with_id(packed, error_message(None, serving)),))
            return
        group.close()
        for (reply, _), answer in zip(replies, answers, strict=True):
            reply(answer)

    def _answers(self, outputs: Sequence[Array], elsewhere: dict[int, Elsewhere]) -> list[Sequence[bytes]]:
        """The parts of each."""
        rows_each = self._pattern.input_shape[0]
        tensors = self._named([Tensor(spec.dtype, array[:rows_each].shape, array[:rows_each])
                               for spec, array in zip(self._signature.outputs, outputs, strict=True)])  # fmt: skip
        if not tensors or any(not 0 < named.tensor.data.nbytes < INLINE_BELOW for named in tensors):  # type: ignore[union-attr]
            return [self._one(index, outputs, elsewhere) for index in range(len(self._replies))]
        before, heads = answer_heads(self._group.servable, self._signature, tensors)
        pieces = []
        for head, which in zip(heads, self._chosen, strict=True):
            raw = outputs[which].tobytes()
            size = len(raw) // len(self._replies)
            pieces.append([head + raw[at : at + size] for at in range(0, len(raw), size)])
        join = b"".join
        answers: list[Sequence[bytes]] = [
            (join((before, packed, *parts)),) for (_, packed), *parts in zip(self._replies, *pieces, strict=True)
        ]
        for index in elsewhere:
            answers[index] = self._one(index, outputs, elsewhere)
        return answers

    def _one(self, index: int, outputs: Sequence[Array], elsewhere: dict[int, Elsewhere]) -> Sequence[bytes]:
        found = elsewhere.get(index)
        packed = self._replies[index][1]
        if isinstance(found, ServingError):
            return (_with_id(packed, error_message(None, found)),)
        if found is None:
            rows = self._pattern.input_shape[0]
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
