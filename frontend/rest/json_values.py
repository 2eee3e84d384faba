"""One tensor out of a JSON value, with upstream's rules and error texts.

This is the exact way. `json_arrays` has the fast ones, which leave to this whatever they can't take. Values are looked at
all together, and one by one only where something is wrong.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NoReturn

import numpy as np

from frontend.rest.json_dump import dump
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.tensor import STRING, DType

#: Ranges of whole numbers by dtype; narrow types are checked as int32 and then cut, as upstream does.
_INT32: Final = (-(1 << 31), (1 << 31) - 1)
INTEGERS: Final = {
    "int8": _INT32,
    "int16": _INT32,
    "int32": _INT32,
    "uint8": _INT32,
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
FLOATS: Final = ("float", "double")
MOST_DIMS: Final = 64  # numpy's limit of an array's rank
_SPACE: Final = b" \t\r\n"
_ONLY_LISTS: Final = {list}
_KINDS: Final = {name: {int, float} for name in FLOATS} | {name: {int} for name in INTEGERS} | {"bool": {bool}}


def tensor_from_value(value: Any, dtype: DType) -> Tensor:
    """The tensor that a JSON value stands for; its shape is what the nesting of its first elements says.

    Raises ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for a dtype that JSON can't carry.
    """
    shape = _shape(value)
    _check_rank(shape)
    elements = elements_alike([value], shape, dtype)
    if elements is None:
        _refuse([value], shape, 0, dtype)
    return tensor_of(elements, shape, dtype)


def tensor_of(elements: list[Any], shape: tuple[int, ...], dtype: DType) -> Tensor:
    """A tensor of checked elements in row-major order. Raises ServingError when it has too many dimensions."""
    _check_rank(shape)
    if dtype is STRING:
        return Tensor(dtype, shape, elements)
    if dtype.name in ("int8", "int16", "uint8"):
        array = np.array(elements, dtype="<i4").astype(dtype.numpy)
    else:
        with np.errstate(over="ignore"):  # too large for a float32 is infinite
            array = np.array(elements, dtype=dtype.numpy or "<f4")
    return Tensor(dtype, shape, array.reshape(shape))


def is_b64(value: Any) -> bool:
    """Is it an object that stands for bytes: {"b64": "…"}?"""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def text_bytes(text: str) -> bytes:
    """A JSON string's bytes: UTF-8, or the very bytes that the client sent where they were none."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # an escaped lone surrogate
        return text.encode("utf-8", "surrogatepass")


def _shape(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _check_rank(shape: tuple[int, ...]) -> None:
    if len(shape) > MOST_DIMS:
        raise ServingError(Code.INVALID_ARGUMENT, f"A tensor has {len(shape)} dimensions, at most {MOST_DIMS} can be")


def elements_alike(values: list[Any], shape: tuple[int, ...], dtype: DType) -> list[Any] | None:
    """The elements of values that are all of this shape and dtype, in row-major order; None if one is not."""
    flat = values
    for size in shape:
        if set(map(type, flat)) != _ONLY_LISTS or set(map(len, flat)) != {size}:
            return None
        flat = flat[0] if len(flat) == 1 else list(chain.from_iterable(flat))
    kinds = set(map(type, flat))
    if not kinds:
        return []
    if dtype is STRING:
        return _strings(flat, kinds)
    if not kinds <= _KINDS.get(dtype.name, set()):
        return None
    if dtype.name in INTEGERS:
        low, high = INTEGERS[dtype.name]
        if min(flat) < low or max(flat) > high:
            return None
    return flat


def _strings(values: list[Any], kinds: set[type]) -> list[bytes] | None:
    if kinds == {str}:
        return list(map(text_bytes, values))
    if not kinds <= {str, dict}:
        return None
    try:
        if kinds == {dict} and set(map(len, values)) == {1}:
            texts = list(map(itemgetter("b64"), values))
            return list(map(decode_base64, texts)) if set(map(type, texts)) == {str} else None
        return [_b64_bytes(value) if type(value) is dict else text_bytes(value) for value in values]
    except (KeyError, ServingError):
        return None


def first_unlike(values: list[Any], alike: Callable[[list[Any]], bool]) -> int:
    """Where the first of the values is that `alike` refuses, one being among them. Asks about each only a few times."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if alike(values[low:middle]):
            low = middle
        else:
            high = middle
    return low


def _refuse(values: list[Any], shape: tuple[int, ...], level: int, dtype: DType) -> NoReturn:
    """Raise for the first of these values at a level of the nesting that does not fit."""
    inner = shape[level:]
    value = values[first_unlike(values, lambda some: elements_alike(some, inner, dtype) is not None)]
    if not isinstance(value, list):
        if level != len(shape):
            text = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(value)} {text}")
        raise _unfit(value, dtype)
    if level >= len(shape):
        text = f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    if len(value) != shape[level]:
        text = f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    _refuse(value, shape, level + 1, dtype)


def _unfit(value: Any, dtype: DType) -> ServingError:
    """The error of a value, no list, that is no element of this dtype."""
    if dtype is STRING and isinstance(value, dict):
        try:
            _b64_bytes(value)
        except ServingError as error:
            return error
    if dtype is not STRING and dtype.name not in _KINDS:
        return ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {dump(value)} to type: {dtype.name}")
    text = f"JSON Value: {dump(value)} Type: {json_type(value)} is not of expected type: {dtype.name}"
    return ServingError(Code.INVALID_ARGUMENT, text)


def _b64_bytes(value: dict[str, Any]) -> bytes:
    text = value.get("b64")
    if type(text) is not str or len(value) != 1:
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(value)} not formatted correctly for base64 data")
    return decode_base64(text)


def decode_base64(text: str) -> bytes:
    """Standard alphabet; padding may be missing and may be written as dots; white space is skipped."""
    missing = -len(text) % 4
    if not text.endswith("=" if missing else "==="):  # of which the strict decoder takes too many
        try:
            return binascii.a2b_base64(text + "=" * missing, strict_mode=True)  # what most is
        except ValueError:
            pass
    raw = text.encode("utf-8", "surrogatepass").translate(None, _SPACE).replace(b".", b"=")
    digits = raw.rstrip(b"=")
    padding = -len(digits) % 4
    try:
        if len(raw) - len(digits) not in (0, padding):
            raise ValueError("wrong padding")
        return base64.b64decode(digits + b"=" * padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServingError(Code.INVALID_ARGUMENT, "Unable to base64 decode") from error


def json_type(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    if isinstance(value, (dict, list, str)):
        return {dict: "Object", list: "Array", str: "String"}[type(value)]
    return "Number"
