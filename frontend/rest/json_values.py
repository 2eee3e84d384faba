"""One tensor out of a JSON value, element by element, with upstream's rules and error texts.

This is the slow and exact way. `json_arrays` has the fast ones, which leave to this whatever they can't take.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

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
_SPACE: Final = re.compile(rb"[ \t\r\n]+")


def tensor_from_value(value: Any, dtype: DType) -> Tensor:
    """The tensor that a JSON value stands for; its shape is what the nesting of its first elements says.

    Raises ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for a dtype that JSON can't carry.
    """
    shape = _shape(value)
    _check_rank(shape)
    elements = list(_elements(value, shape, 0, dtype))
    return tensor_of(elements, shape, dtype)


def tensor_of(elements: list[Any], shape: tuple[int, ...], dtype: DType) -> Tensor:
    """A tensor of checked elements in row-major order. Raises ServingError when it has too many dimensions."""
    _check_rank(shape)
    if dtype is STRING:
        return Tensor(dtype, shape, elements)
    if dtype.name in ("int8", "int16", "uint8"):
        array = np.array(elements, dtype="<i4").astype(dtype.numpy)
    else:
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


def _elements(value: Any, shape: tuple[int, ...], level: int, dtype: DType) -> Iterator[Any]:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            text = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
            raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(value)} {text}")
        yield _element(value, dtype)
        return
    if level >= rank:
        raise ServingError(Code.INVALID_ARGUMENT, f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        text = f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    for item in value:
        yield from _elements(item, shape, level + 1, dtype)


def _element(value: Any, dtype: DType) -> Any:
    if dtype is STRING:
        return _string(value)
    kind = type(value)
    if dtype.name in FLOATS:
        if kind is float or kind is int:
            return value
    elif dtype.name in INTEGERS:
        low, high = INTEGERS[dtype.name]
        if kind is int and low <= value <= high:
            return value
    elif dtype.name == "bool":
        if kind is bool:
            return value
    else:
        raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {dump(value)} to type: {dtype.name}")
    raise _wrong_type(value, dtype)


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        return text_bytes(value)
    if is_b64(value):
        return decode_base64(value["b64"])
    if isinstance(value, dict):
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(value)} not formatted correctly for base64 data")
    raise _wrong_type(value, STRING)


def decode_base64(text: str) -> bytes:
    """Standard alphabet; padding may be missing and may be written as dots; white space is skipped."""
    raw = _SPACE.sub(b"", text.encode("utf-8", "surrogatepass")).replace(b".", b"=")
    digits = raw.rstrip(b"=")
    padding = -len(digits) % 4
    try:
        if len(raw) - len(digits) not in (0, padding):
            raise ValueError("wrong padding")
        return base64.b64decode(digits + b"=" * padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServingError(Code.INVALID_ARGUMENT, "Unable to base64 decode") from error


def _wrong_type(value: Any, dtype: DType) -> ServingError:
    text = f"JSON Value: {dump(value)} Type: {json_type(value)} is not of expected type: {dtype.name}"
    return ServingError(Code.INVALID_ARGUMENT, text)


def json_type(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    if isinstance(value, (dict, list, str)):
        return {dict: "Object", list: "Array", str: "String"}[type(value)]
    return "Number"
