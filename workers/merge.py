"""Tensors of several requests as one batch, and the batch's outputs as those of each request."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.batchable import check_shapes
from ringserve.errors import Code, ServingError
from ringserve.tensor import STRING, dtype_of
from shm.packed import PackedTensor, string_table, unpack_strings
from workers.limits import Limits
from workers.packed_arrays import packed
from workers.private_memory import aligned

Array = npt.NDArray[Any]

_MOST_PADDED_DIMS: Final = 6  # upstream's limit of a tensor that is filled up


def batch_rows(tensors: Sequence[PackedTensor]) -> int | None:
    """The first dimension of a request's inputs, where all have the same; else None."""
    if not tensors or not tensors[0].shape:
        return None
    rows = tensors[0].shape[0]
    return rows if all(tensor.shape and tensor.shape[0] == rows for tensor in tensors) else None


def merge_key(tensors: Sequence[PackedTensor], limits: Limits) -> Hashable:
    """Requests with equal keys can be merged, whatever else they hold; None: this one with none."""
    if not limits.joins or not batch_rows(tensors) or any(0 in tensor.shape for tensor in tensors):
        return None
    if limits.pad:
        return tuple((tensor.dtype, len(tensor.shape)) for tensor in tensors)
    return tuple((tensor.dtype, tensor.shape[1:]) for tensor in tensors)


def check_batchable(tensors: Sequence[PackedTensor], limits: Limits) -> None:
    """Raises ServingError (INVALID_ARGUMENT) for inputs that upstream's batching refuses, in its words."""
    check_shapes([tensor.shape for tensor in tensors], limits.most_request_rows)
    if limits.pad and any(len(tensor.shape) > _MOST_PADDED_DIMS for tensor in tensors):
        raise _invalid("Only tensors with rank from 1 to 6 can be padded.")


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)


def as_array(tensor: PackedTensor) -> Array:
    """A tensor of rows as an array: a view of its bytes, of strings an array of `bytes` objects.

    Raises ServingError where its bytes do not fit its type and shape.
    """
    dtype = dtype_of(tensor.dtype)
    try:
        if dtype == STRING:
            texts = np.empty(prod(tensor.shape), dtype=object)
            texts[:] = unpack_strings(tensor.data, len(texts))
            return texts.reshape(tensor.shape)
        return np.frombuffer(tensor.data, dtype=dtype.numpy).reshape(tensor.shape)
    except (ValueError, TypeError) as error:
        raise _invalid(f"{len(tensor.data)} bytes do not make a {dtype.name} tensor: {error}") from error


def merged(parts: Sequence[Array], dtype: int, more: int = 0, pad: bool = False) -> PackedTensor:
    """The rows of one input of all requests, one request after the other.

    `more`: rows that fill the batch up, which are the first one of the last request's, as upstream's. `pad`: inner
    dimensions that differ become the largest; what is missing at their ends is each request's own first element.
    """
    if pad:
        parts = _padded(parts)
    if more:
        parts = [*parts, np.repeat(parts[-1][:1], more, axis=0)]
    first = parts[0]
    if first.dtype == object:
        joined: Array = np.concatenate(parts)
    else:
        shape = (sum(len(part) for part in parts), *first.shape[1:])
        joined = aligned(prod(shape) * first.itemsize).view(first.dtype).reshape(shape)
        np.concatenate(parts, out=joined)
    return packed(dtype_of(dtype), joined)


def _padded(parts: Sequence[Array]) -> list[Array]:
    shape = tuple(max(dims) for dims in zip(*(part.shape[1:] for part in parts), strict=True))
    return [part if part.shape[1:] == shape else _filled(part, (len(part), *shape)) for part in parts]


def _filled(part: Array, shape: tuple[int, ...]) -> Array:
    filled = np.empty(shape, dtype=part.dtype)
    filled[...] = part.flat[0]
    filled[tuple(slice(size) for size in part.shape)] = part
    return filled


def rows_of(tensor: PackedTensor, first: int, rows: int) -> PackedTensor:
    """Rows of an output; a view, of strings a copy."""
    shape = (rows, *tensor.shape[1:])
    each = prod(tensor.shape[1:])
    if tensor.dtype != STRING.number:
        size = each * np.dtype(dtype_of(tensor.dtype).numpy).itemsize
        return PackedTensor(tensor.dtype, shape, memoryview(tensor.data)[first * size : (first + rows) * size])
    ends, blob = string_table(tensor.data, prod(tensor.shape))
    start = int(ends[first * each - 1]) if first * each else 0
    own = ends[first * each : (first + rows) * each]
    stop = int(own[-1]) if len(own) else start
    return PackedTensor(tensor.dtype, shape, b"".join(((own - np.uint64(start)).tobytes(), blob[start:stop])))


def put_together(parts: Sequence[PackedTensor]) -> PackedTensor | None:
    """An output of a request that ran in parts; None where they have different shapes."""
    if any(part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype for part in parts):
        return None
    return merged([as_array(part) for part in parts], parts[0].dtype)


def have_rows(outputs: Sequence[PackedTensor], rows: int) -> bool:
    """Is each output's first dimension the batch's?"""
    return all(output.shape and output.shape[0] == rows for output in outputs)
