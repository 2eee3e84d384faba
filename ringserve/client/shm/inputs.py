"""The inputs of an operation, with upstream's checks, as a lane takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from ringserve.client.answers import Array
from ringserve.client.shm.declared_rows import Form
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.tensors import Tensor
from ringserve.default_value import DefaultValue
from ringserve.errors import Code, ServingError
from ringserve.predict_checks import check_all_used, check_dtypes, check_output_filter, in_order
from ringserve.signature import Signature
from ringserve.tensor import DType, dtype_of
from shm import packed
from shm.packed import PackedTensor

_MOST_COUNTED: Final = 1 << 16  # rows of a packed request: a tensor without elements may have any number of them


class Input(NamedTuple):
    """`values`: an array of this shape, or strings in row-major order."""

    dtype: DType
    shape: tuple[int, ...]
    values: Array | list[bytes]

    def row(self, index: int) -> Input:
        """One of its rows, as a tensor of one row."""
        return Input(self.dtype, (1, *self.shape[1:]), self.values[index : index + 1])

    def copy(self) -> Input:
        """With values of its own."""
        return self._replace(values=self.values.copy())

    def packed(self) -> PackedTensor:
        """Numbers are views of the array, where that lies in one piece."""
        values = self.values
        if isinstance(values, list):
            return PackedTensor(self.dtype.number, self.shape, packed.pack_strings(values))
        flat = np.ascontiguousarray(values).reshape(-1)
        return PackedTensor(self.dtype.number, self.shape, flat.view(np.uint8).data if flat.size else b"")


def checked_inputs(sent: Mapping[str, Tensor], signature: Signature) -> list[Input]:
    """In the signature's order, default values for what was left out. Raises ServingError (INVALID_ARGUMENT)."""
    found = [_input(tensor) for tensor in in_order(sent, signature)]
    if signature.defaults:
        check_all_used(sent, signature)
    for spec, tensor in zip(signature.inputs, found, strict=True):
        if tensor.dtype.number != spec.dtype.number:
            check_dtypes([one.dtype.number for one in found], signature)
    return found


def _input(tensor: Tensor | DefaultValue) -> Input:
    if isinstance(tensor, DefaultValue):
        number, of_default, decoded = tensor.decode()
        return Input(dtype_of(number), of_default, decoded if isinstance(decoded, list) else decoded.reshape(of_default))
    dtype, sizes, values = tensor
    shape = tuple(sizes)
    if not isinstance(values, list) and values.shape != shape:
        values = values.reshape(shape)
    return Input(dtype, shape, values)


def chosen_outputs(names: Sequence[str], signature: Signature) -> Sequence[int] | None:
    """Where in the signature they are; None: all. Raises ServingError (INVALID_ARGUMENT)."""
    return check_output_filter(names, signature) if names else None


def form_of(inputs: Sequence[Input]) -> tuple[Form | None, int]:
    """(form, rows) of a request; no form when it can't be rows of columns: strings, scalars, unequal first dimensions."""
    if not inputs or not inputs[0].shape:
        return None, 0
    rows = inputs[0].shape[0]
    form = []
    for dtype, shape, _ in inputs:
        if not shape or shape[0] != rows or not dtype.numpy or 0 in shape:
            return None, rows if shape else 0
        form.append((dtype.number, shape[1:]))
    return tuple(form), rows


def packed_inputs(inputs: Sequence[Input], terms: LaneTerms) -> list[PackedTensor]:
    """Raises ServingError (RESOURCE_EXHAUSTED) for what is too large for any lane."""
    most = terms.most_bytes
    for dtype, shape, _ in inputs:
        # Without elements, but so wide that its answer could have any size, for no bytes sent.
        if 0 in shape and math.prod(dim for dim in shape if dim) * np.dtype(dtype.numpy or "O").itemsize > most:
            text = f"The request has an empty tensor whose other dimensions, {list(shape)}, are larger than a lane"
            raise ServingError(Code.RESOURCE_EXHAUSTED, text)
    tensors = [tensor.packed() for tensor in inputs]
    if packed.size(tensors) > most:
        text = f"The request's tensors take {packed.size(tensors)} bytes, the lane carries {most}: "
        raise ServingError(Code.RESOURCE_EXHAUSTED, text + "start the server with a higher --max_request_bytes")
    return tensors


def counted_rows(rows: int) -> int:
    """Of a packed request, as the worker counts them."""
    return min(rows, _MOST_COUNTED)
