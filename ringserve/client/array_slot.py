"""A slot of the client's own arrays, where the protocol has no memory to make requests in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from ringserve.client.answers import Array, Prediction
from ringserve.client.operations import Predict, Which
from ringserve.client.tensors import numpy_type, tensor_of
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature, TensorSpec

_MOST_BYTES: Final = (1 << 31) - 1  # of a request, in any protocol


class ArraySlot:
    """`call`: asks the server, given what to ask and the seconds that a run's caller says."""

    def __init__(
        self, call: Callable[[Predict, float | None], Prediction], which: Which, signature: Signature, rows: int
    ) -> None:
        """Raises ServingError: FAILED_PRECONDITION where rows have no fixed form, INVALID_ARGUMENT if too large."""
        self._call = call
        self._which = which
        self._signature = signature.name
        self._inputs: dict[str, Array] = _inputs(signature, rows)
        self._outputs: dict[str, Array] = {}
        self._is_closed = False

    @property
    def inputs(self) -> Mapping[str, Array]:
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        return self._outputs

    def run(self, timeout: float | None = None) -> None:
        if self._is_closed:
            raise ServingError(Code.FAILED_PRECONDITION, "The slot is closed")
        tensors = {alias: tensor_of(array) for alias, array in self._inputs.items()}
        self._outputs = {}
        self._outputs = self._call(Predict(self._which, self._signature, tensors), timeout)

    def close(self) -> None:
        self._is_closed = True
        self._inputs, self._outputs = {}, {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _inputs(signature: Signature, rows: int) -> dict[str, Array]:
    forms = {spec.alias: (_shape(spec, rows), numpy_type(spec.dtype)) for spec in signature.inputs}
    size = sum(prod(shape) * dtype.itemsize for shape, dtype in forms.values())
    if size > _MOST_BYTES:
        raise ServingError(Code.INVALID_ARGUMENT, f"{rows} rows have {size} bytes; a request has at most {_MOST_BYTES}")
    return {alias: _empty(shape, dtype) for alias, (shape, dtype) in forms.items()}


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    if spec.row is None:
        text = f"Input {spec.alias!r} has no rows of a fixed form: its shape is {spec.shape}"
        raise ServingError(Code.FAILED_PRECONDITION, text)
    return rows, *spec.row


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    try:
        return np.full(shape, b"", dtype) if dtype.hasobject else np.zeros(shape, dtype)
    except (ValueError, MemoryError) as error:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"No array of the shape {list(shape)}: {error}") from error
