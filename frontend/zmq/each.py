"""A message whose rows are requests of their own: `"each": true`, or how many rows each of them has."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from frontend.bodies.arrays import invalid
from frontend.bodies.body_options import BodyOptions
from frontend.bodies.tensor_body import chosen
from frontend.bodies.tensor_message import NamedOutput, TensorRequest, answer_frames
from frontend.catalog import Version
from frontend.endpoint import Form
from frontend.failure import as_serving_error
from frontend.front_end import FrontEnd
from frontend.model_facts import shown
from frontend.row_group import Elsewhere, RowGroup
from frontend.tensors import Array, Tensor
from frontend.zmq.bodies import PredictBody, predict_spec
from frontend.zmq.each_alone import EachAlone
from frontend.zmq.reply import Reply, error_message
from ringserve.errors import Code, ServingError
from ringserve.handle import ServableHandle
from ringserve.servable import ServableId
from ringserve.signature import Signature

_MOST: Final = 1 << 16  # requests of one message
_OTHER_SHAPE: Final = ServingError(
    Code.UNIMPLEMENTED, "The answer has another shape than those of its neighbours: ask for it by itself"
)


class EachRequest:
    """`begin` it; its one reply gets one answer, for all of its rows."""

    def __init__(self, front_end: FrontEnd, request: TensorRequest, options: BodyOptions, timeout: int, began: int) -> None:
        """`timeout` in ns from `began` on, ns of CLOCK_MONOTONIC; 0: none. Raises ServingError (INVALID_ARGUMENT)."""
        self._front_end = front_end
        self._request = request
        self._options = options
        self._timeout = timeout
        self._began = began
        self._group = RowGroup(front_end, predict_spec(request), "predict", "ZMQ", timeout, began, bool(request.low))
        self._count = 0
        self._signature: Signature
        self._reply: Reply

    def begin(self, each: Any, reply: Reply, work: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """`each`: what the message says of it; `work` has a coroutine run. Raises nothing."""
        self._reply = reply
        group = self._group
        try:
            rows_each, self._count = _portions(each, self._request)
            body = PredictBody(self._request, self._options)
            signature = self._signature = group.resolve(lambda version: body.signature(version.signatures))
            tensors = body.inputs(signature)
            together = self._can_be_together(tensors, rows_each)
        except Exception as error:
            self._refuse(error)
            return
        if together is None:
            work(self._one_by_one(rows_each, group.hand_over()))
        else:
            columns: list[Array] = [tensor.data for tensor in tensors]  # type: ignore[misc]
            group.submit(together, columns, rows_each, self._done)

    def _can_be_together(self, tensors: Sequence[Tensor], rows_each: int) -> Form | None:
        """The form of the rows, if they can. Default values are of one request each, and as long as they like."""
        rows = self._count * rows_each
        if any(tensor.shape[:1] != (rows,) for tensor in tensors):
            return None
        form = tuple((tensor.dtype.number, tensor.shape[1:]) for tensor in tensors)
        return form if self._group.can_be_together(form, rows_each) else None

    def _done(self) -> None:
        """All are completed, or have failed. Raises nothing: others are told next."""
        group = self._group
        try:
            outputs, elsewhere = group.answers()
            specs = self._signature.outputs
            tensors = [Tensor(spec.dtype, array.shape, array) for spec, array in zip(specs, outputs, strict=True)]
            parts = self._parts(group.servable, tensors, elsewhere)
        except Exception as error:
            self._refuse(error)
            return
        group.close()
        self._reply(parts)

    def _refuse(self, error: Exception) -> None:
        """All of them."""
        serving = as_serving_error(error)
        self._group.close(serving.code)
        self._reply((error_message(self._request.identifier, serving),))

    async def _one_by_one(self, rows_each: int, handle: ServableHandle[Version]) -> None:
        request = self._request
        try:
            alone = EachAlone(self._front_end, handle, request, rows_each, self._options, self._timeout, self._began)
            tensors, failed = await alone.run()
            if tensors is None:
                error = next(iter(failed.values()))
                assert isinstance(error, ServingError)
                raise error
            parts = self._parts(handle.id, tensors, failed)
        except Exception as error:
            parts = (error_message(request.identifier, as_serving_error(error)),)
        finally:
            handle.release()
        self._reply(parts)

    def _parts(self, servable: ServableId, tensors: Sequence[Tensor], elsewhere: Mapping[int, Elsewhere]) -> Sequence[bytes]:
        """`elsewhere`: what became of those that have no rows in `tensors`. The rows of those that failed are zeros, and
        "errors" says why.
        """
        errors, rows = [], dict[int, Sequence[Tensor] | None]()
        for index, found in sorted(elsewhere.items()):
            if not isinstance(found, ServingError) and self._fits(found, tensors):
                rows[index] = found  # a worker that has run it by itself packs its answer
                continue
            error = found if isinstance(found, ServingError) else _OTHER_SHAPE
            errors.append([index, int(error.code), error.message])
            rows[index] = None
        signature = self._signature
        named = []
        for which in chosen(self._request.outputs, signature):
            pieces = {index: None if found is None else found[which] for index, found in rows.items()}
            named.append(NamedOutput(signature.outputs[which].alias, _completed(tensors[which], self._count, pieces)))
        return answer_frames(self._request.identifier, servable, signature, named, errors)

    def _fits(self, found: Sequence[Tensor], tensors: Sequence[Tensor]) -> bool:
        """Are they what the rows of one request would be?"""
        count = self._count
        return len(found) == len(tensors) and all(
            piece.dtype == whole.dtype and piece.shape == (whole.shape[0] // count, *whole.shape[1:])
            for piece, whole in zip(found, tensors, strict=True)
        )


def _portions(each: Any, request: TensorRequest) -> tuple[int, int]:
    """How many rows each request has, and how many requests there are. Raises ServingError (INVALID_ARGUMENT)."""
    if each is not True and (type(each) is not int or not 0 < each <= _MOST):
        raise _bad(f"{shown(each)}; expected true, or how many rows each request has")
    rows_each = int(each)
    lengths = {tensor.shape[0] if tensor.shape else 0 for tensor in request.inputs.values()}
    if len(lengths) != 1 or any(isinstance(tensor.data, list) for tensor in request.inputs.values()):
        raise _bad("expected it with numeric inputs that have as many rows, all of them")
    if any(0 in tensor.shape[1:] for tensor in request.inputs.values()):  # any number of them takes no bytes
        raise _bad("expected it with rows that have numbers")
    (rows,) = lengths
    if not rows or rows % rows_each or rows // rows_each > _MOST:
        raise _bad(f"{rows} rows; expected a multiple of {rows_each}, for at most {_MOST} requests")
    return rows_each, rows // rows_each


def _bad(text: str) -> ServingError:
    return invalid(f"The message has bad fields: each: {text}")


def _completed(tensor: Tensor, count: int, pieces: Mapping[int, Tensor | None]) -> Tensor:
    """With these requests' rows, or nothing in them."""
    if not pieces:
        return tensor
    data = tensor.data.copy()
    each = len(data) // count
    for index, piece in pieces.items():
        place = slice(index * each, (index + 1) * each)
        if isinstance(data, list):
            data[place] = [b""] * each if piece is None else piece.data
        else:
            data[place] = 0 if piece is None else piece.data
    return tensor._replace(data=data)
