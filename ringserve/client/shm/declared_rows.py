"""Requests that are rows of a lane's columns as they come: most of them, so that they are seen at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringserve.client.answers import Array
from ringserve.client.tensors import Tensor
from ringserve.signature import Signature

#: The rows of a request: dtype number and shape of one row, for each input.
Form = tuple[tuple[int, tuple[int, ...]], ...]


class DeclaredRows:
    """`form`: of the lane's columns, () where it has none; `most`: rows of a request."""

    __slots__ = ("_inputs", "_most")

    def __init__(self, signature: Signature, form: Form, most: int) -> None:
        has_numbers = all(0 not in row for _, row in form)
        pairs = zip(signature.inputs, form if has_numbers else (), strict=False)
        self._inputs = [(spec.alias, number, row) for spec, (number, row) in pairs]
        self._most = most

    def columns(self, inputs: Mapping[str, Tensor]) -> list[Array] | None:
        """The inputs' arrays in the signature's order. None: the request is to be looked at more closely."""
        if len(inputs) != len(self._inputs):
            return None
        columns: list[Any] = []
        rows = 0
        for alias, number, row in self._inputs:
            found = inputs.get(alias)
            if found is None:
                return None
            dtype, shape, values = found
            if dtype.number != number or type(shape) is not tuple or not shape or shape[1:] != row:
                return None
            if columns and shape[0] != rows:
                return None
            rows = shape[0]
            columns.append(values)
            if type(values) is list or values.shape != shape:  # type: ignore[union-attr]
                return None
        return columns if 0 < rows <= self._most else None
