"""The outputs of a predict request to JSON, in the format of the request."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson

from frontend.tensors import Array, Tensor
from ringserve.errors import Code, ServingError
from ringserve.signature import TensorSpec

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_FLOATS: Final = ("float", "double")
_PLAIN: Final = frozenset((*_FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"))

_WORDS: Final = (b"NaN", b"Infinity", b"-Infinity")
_FEW: Final = 3  # rows from which on it pays to write columns and put them together as rows


def encode_answer(specs: Sequence[TensorSpec], tensors: Sequence[Tensor], rows: bool) -> bytes:
    """The body of the answer; `rows`: in row format. Raises ServingError with upstream's texts.

    Arrays may be views of a lane: they are written straight from there.
    """
    if not tensors:
        raise ServingError(Code.INVALID_ARGUMENT, "Cannot convert empty tensor map to JSON")
    if rows and (len(tensors) > 1 or not tensors[0].shape):
        _check_rows(specs, tensors)
    if len(tensors) == 1:  # the usual answer, quickly
        values = [_value(specs[0], tensors[0])]
        body = orjson.dumps({"predictions" if rows else "outputs": values[0]}, option=_NUMPY)
    else:
        values = [_value(spec, tensor) for spec, tensor in zip(specs, tensors, strict=True)]
        if rows and tensors[0].shape[0] >= _FEW:
            return _named_rows(specs, tensors, values)
        body = _written(specs, values, rows)
    if b"null" not in body or all(map(_finite, tensors)):  # what orjson makes of a number that is not finite
        return body
    for index, tensor in enumerate(tensors):
        if not _finite(tensor):
            values[index] = _with_words(tensor, rows and len(tensors) > 1)
    return _written(specs, values, rows)


def _written(specs: Sequence[TensorSpec], values: Sequence[Any], rows: bool) -> bytes:
    content = values[0] if len(values) == 1 else _by_alias(specs, values, rows)
    return orjson.dumps({"predictions" if rows else "outputs": content}, option=_NUMPY)


def _by_alias(specs: Sequence[TensorSpec], values: Sequence[Any], rows: bool) -> Any:
    """Of several outputs: an object, or one for each row."""
    aliases = [spec.alias for spec in specs]
    if rows:
        return [dict(zip(aliases, row, strict=True)) for row in zip(*values, strict=True)]
    return dict(zip(aliases, values, strict=True))


def _named_rows(specs: Sequence[TensorSpec], tensors: Sequence[Tensor], values: Sequence[Any]) -> bytes:
    """The rows of several outputs out of the columns' texts."""
    columns = []
    names = []
    for spec, tensor, value in zip(specs, tensors, values, strict=True):
        depth = len(tensor.shape) - 1  # brackets around a row
        if isinstance(tensor.data, list):
            depth = 0
            column = [orjson.dumps(row) for row in value]
        elif not tensor.data.size:
            depth = 0
            column = [orjson.dumps(value[0])] * len(value)
        else:
            text = _text(tensor.data)
            column = text[1 + depth : -1 - depth].split(b"]" * depth + b"," + b"[" * depth)
        columns.append(column)
        names.append((spec.alias, depth))
    pattern = _row_pattern(tuple(names))
    return b'{"predictions":[%b]}' % b",".join([pattern % row for row in zip(*columns, strict=True)])


@lru_cache(maxsize=1024)
def _row_pattern(names: tuple[tuple[str, int], ...]) -> bytes:
    members = [orjson.dumps(name).replace(b"%", b"%%") + b":" + b"[" * depth + b"%b" + b"]" * depth for name, depth in names]
    return b"{%b}" % b",".join(members)


def _check_rows(specs: Sequence[TensorSpec], tensors: Sequence[Tensor]) -> None:
    batch = None
    for spec, tensor in zip(specs, tensors, strict=True):
        if not tensor.shape:
            raise ServingError(Code.INVALID_ARGUMENT, f"Tensor name: {spec.alias} has no shape information ")
        if batch is not None and tensor.shape[0] != batch:
            text = f"Tensor name: {spec.alias} has inconsistent batch size: {tensor.shape[0]} expecting: {batch}"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        batch = tensor.shape[0]


def _value(spec: TensorSpec, tensor: Tensor) -> Any:
    """What the JSON writer can write: an array, or nested lists of texts."""
    if isinstance(tensor.data, list):
        return _nested(_texts(spec.alias, tensor.data), tensor.shape)
    if tensor.dtype.name not in _PLAIN:
        text = f"Failed to write JSON value for tensor type: {tensor.dtype.name}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    if not tensor.shape:
        return tensor.data.item() if tensor.dtype.name != "float" else _shortest(tensor.data[()])
    if not tensor.data.size:
        return tensor.data.tolist()  # orjson forgets the outer brackets of shapes like (2, 0)
    return tensor.data


def _texts(alias: str, elements: Sequence[bytes]) -> list[Any]:
    if alias.endswith("_bytes"):
        return [{"b64": base64.b64encode(element).decode()} for element in elements]
    return [element.decode("utf-8", "replace") for element in elements]


def _nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return flat[0]
    for size in reversed(shape[1:]):
        if not size:
            return np.empty(shape).tolist()
        flat = [flat[at : at + size] for at in range(0, len(flat), size)]
    return flat


def _finite(tensor: Tensor) -> bool:
    return isinstance(tensor.data, list) or tensor.dtype.name not in _FLOATS or _all_finite(tensor.data)


def _all_finite(array: Array) -> bool:
    return bool(np.isfinite(array).all())


def _shortest(number: Any) -> float:
    """A float32 as the double whose text is shortest: 0.1, not 0.10000000149011612."""
    return float(str(number))


def _with_words(tensor: Tensor, rows: bool) -> Any:
    """What the JSON writer can write of numbers that are not all finite; `rows`: row by row."""
    assert not isinstance(tensor.data, list)
    if not tensor.shape:
        return orjson.Fragment(_text(tensor.data.reshape(1))[1:-1])
    if not rows:
        return orjson.Fragment(_text(tensor.data))
    return [orjson.Fragment(_text(tensor.data[at : at + 1])[1:-1]) for at in range(tensor.shape[0])]


def _text(array: Array) -> bytes:
    """An array with NaN and Infinity as bare words, as upstream writes them."""
    text = orjson.dumps(array, option=_NUMPY)
    if b"null" not in text:
        return text
    others = array[~np.isfinite(array)]
    if bool(np.isnan(others).all()):
        return text.replace(b"null", b"NaN")
    words = np.where(np.isnan(others), 0, np.where(others > 0, 1, 2)).tolist()
    pieces: list[bytes] = [b""] * (2 * len(words) + 1)
    pieces[::2] = text.split(b"null")
    pieces[1::2] = map(_WORDS.__getitem__, words)
    return b"".join(pieces)
