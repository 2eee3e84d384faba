"""Answers in a lane, as arrays of the caller's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from ringserve.client.answers import Array
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.tensors import array_of
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, DType, dtype_of
from shm.packed import PackedTensor, unpack_strings
from shm.producer import LaneProducer

_BFLOAT16: Final = BY_NAME["bfloat16"]
_UINT16: Final = BY_NAME["uint16"]  # which it is stored as


def outputs_of(
    producer: LaneProducer, terms: LaneTerms, number: int, chosen: Sequence[int] | None
) -> list[tuple[str, Array]]:
    """Those of a completed request by alias, copied: all, or the chosen ones. Raises ServingError: what it ended in."""
    rows = producer.answer_rows(number)
    specs = terms.signature.outputs
    if rows is not None:
        if chosen is None:
            return [(spec.alias, own_rows(spec.dtype, array)) for spec, array in zip(specs, rows)]  # noqa: B905 - for speed
        return [(specs[index].alias, own_rows(specs[index].dtype, rows[index])) for index in chosen]
    tensors = packed_outputs(producer, terms, number)
    outputs = []
    for index in range(len(specs)) if chosen is None else chosen:
        alias = specs[index].alias
        try:
            outputs.append((alias, array_of_packed(tensors[index])))
        except ServingError as error:
            raise ServingError(error.code, f"Output {alias!r}: {error.message}") from error
    return outputs


def own_rows(dtype: DType, rows: Array) -> Array:
    """A copy of rows of an output's column."""
    return as_typed(dtype, rows.copy())


def as_typed(dtype: DType, stored: Array) -> Array:
    """As callers want it what a lane stores otherwise."""
    return stored if dtype is not _BFLOAT16 else array_of(dtype, stored.shape, stored)


def packed_outputs(producer: LaneProducer, terms: LaneTerms, number: int) -> list[PackedTensor]:
    """Of a completed request whose answer is not in columns: views of the lane, until its release.

    Raises ServingError: what it ended in, INTERNAL for a damaged answer.
    """
    status, is_packed = producer.verdict(number)
    try:
        tensors = producer.answer_packed(number) if is_packed else []
        if status:
            text = bytes(tensors[0].data).decode("utf-8", "replace") if tensors else ""
            raise ServingError(Code(status), text)
    except ValueError as error:
        raise _damaged(error) from error
    if len(tensors) != len(terms.output_dtypes):
        text = f"Expected {len(terms.output_dtypes)} output tensor(s).  Got: {len(tensors)}"
        raise ServingError(Code.INTERNAL, text)
    return tensors


def array_of_packed(tensor: PackedTensor) -> Array:
    """A copy. Raises ServingError: INTERNAL for a damaged one, UNIMPLEMENTED where numpy has no such array."""
    return array_of(dtype_of(tensor.dtype), tensor.shape, values_of_packed(tensor))


def stored_array(tensor: PackedTensor) -> Array:
    """As `array_of_packed`, for `as_typed` to make the rest of."""
    dtype = dtype_of(tensor.dtype)
    return array_of(_UINT16 if dtype is _BFLOAT16 else dtype, tensor.shape, values_of_packed(tensor))


def values_of_packed(tensor: PackedTensor) -> Array | list[bytes]:
    """The elements in row-major order, copied. Raises ServingError (INTERNAL)."""
    dtype = dtype_of(tensor.dtype)
    count = math.prod(tensor.shape)
    try:
        if not dtype.numpy:
            return unpack_strings(tensor.data, count)
        return np.frombuffer(tensor.data, dtype.numpy, count).copy()
    except ValueError as error:
        raise _damaged(error) from error


def _damaged(error: ValueError) -> ServingError:
    return ServingError(Code.INTERNAL, f"The worker's answer is damaged: {error}")
