"""Nested lists of numbers to arrays, the fast ways. None means: this needs the slow way, which also knows every error."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import simdjson

from frontend.rest.json_values import FLOATS, INTEGERS, MOST_DIMS, text_bytes
from frontend.tensors import Tensor
from ringserve.tensor import BY_NAME, DType


class _Rule(NamedTuple):
    """Which Python types a dtype's elements may all have, and the types that numpy parses and keeps them as."""

    kinds: frozenset[type]
    parsed: np.dtype[Any] | None  # None: strings
    kept: np.dtype[Any] | None  # None: as parsed


def _rule(name: str) -> _Rule:
    storage = np.dtype(BY_NAME[name].numpy)
    if name in FLOATS:
        return _Rule(frozenset((int, float)), storage, None)
    if name == "bool":
        return _Rule(frozenset((bool,)), storage, None)
    if storage.itemsize < 4:  # checked as int32, then cut, as upstream does
        return _Rule(frozenset((int,)), np.dtype("<i4"), storage)
    return _Rule(frozenset((int,)), storage, None)


_RULES: Final = {BY_NAME[name].number: _rule(name) for name in (*FLOATS, *INTEGERS, "bool")}
_RULES[BY_NAME["string"].number] = _Rule(frozenset((str,)), None, None)


def tensor_from_lists(value: list[Any], dtype: DType) -> Tensor | None:
    """The tensor of a non-empty nested list of one shape, None where its elements are not all plainly of this dtype."""
    shape = [len(value)]
    flat = value
    while flat and type(flat[0]) is list:
        size = len(flat[0])
        if not size or len(shape) == MOST_DIMS or set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
            return None
        shape.append(size)
        flat = list(chain.from_iterable(flat))
    rule = _RULES.get(dtype.number)
    if not flat or rule is None or not rule.kinds.issuperset(map(type, flat)):
        return None
    if rule.parsed is None:
        return Tensor(dtype, tuple(shape), list(map(text_bytes, flat)))
    try:
        array = np.array(flat, rule.parsed)
    except OverflowError:
        return None
    if rule.kept is not None:
        array = array.astype(rule.kept)
    return Tensor(dtype, tuple(shape), array if len(shape) == 1 else array.reshape(shape))


class NumberBody(NamedTuple):
    """A whole predict body that is one array of numbers: parsed without a Python object a number."""

    key: str  # "instances" or "inputs"
    signature: str
    shape: tuple[int, ...]
    text: bytes  # of the array

    def tensor(self, dtype: DType) -> Tensor | None:
        """None where the numbers are not all of this dtype."""
        if dtype.name in FLOATS:
            kind, storage = "d", "<f8"
        elif dtype.name in ("int32", "int64"):
            kind, storage = "i", "<i8"
        else:
            return None
        try:
            # A parser of its own: one that is used again would refuse while an earlier document's buffer lives.
            array: Any = simdjson.Parser().parse(self.text)
            numbers = np.frombuffer(array.as_buffer(of_type=kind), dtype=storage)
        except (ValueError, TypeError, RuntimeError):  # RuntimeError: more than 64 bits
            return None
        if dtype.name == "int32" and numbers.size and (numbers.min() < -(1 << 31) or numbers.max() >= 1 << 31):
            return None
        if numbers.size != np.prod(self.shape, dtype=np.int64):
            return None
        return Tensor(dtype, self.shape, numbers.astype(dtype.numpy, copy=False).reshape(self.shape))


_SIGNATURE: Final = rb'"signature_name"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9_./:-]*)"[ \t\r\n]*'
_BEFORE: Final = re.compile(
    rb"[ \t\r\n]*\{[ \t\r\n]*(?:" + _SIGNATURE + rb',[ \t\r\n]*)?"(instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[)'
)
_AFTER: Final = re.compile(rb"[ \t\r\n]*(?:,[ \t\r\n]*" + _SIGNATURE + rb")?\}[ \t\r\n]*")
_NUMERIC: Final = b"0123456789+-.eE \t\r\n"
_MOST_LEVELS: Final = 32
SMALLEST_NUMBER_BODY: Final = 1024  # below, the ordinary way is as fast


def number_body(body: bytes) -> NumberBody | None:
    """The body as one array of numbers, if it is `{"instances" or "inputs": [numbers…]}` with all lists of a level alike."""
    before = _BEFORE.match(body)
    end = body.rfind(b"]") + 1
    if before is None or not end:
        return None
    after = _AFTER.fullmatch(body, end)
    if after is None or (before[1] is not None and after[1] is not None):
        return None
    text = body[before.end() : end]
    # With the numbers' characters taken out, brackets and commas are left: for lists that are all alike, one known text.
    structure = text.translate(None, _NUMERIC)
    shape = _shape(structure)
    if shape is None or structure != _skeleton(shape):
        return None
    return NumberBody(before[2].decode(), (before[1] or after[1] or b"").decode(), shape, text)


def _shape(structure: bytes) -> tuple[int, ...] | None:
    """The shape that the first list of every level says; None where there is none."""
    depth = len(structure) - len(structure.lstrip(b"["))
    shape = []
    length = 0  # of one element's structure
    for level in range(1, depth + 1):  # from the innermost list outwards
        close = structure.find(b"]" * level)
        if close < 0 or depth > _MOST_LEVELS:
            return None
        inside = close + level - 1 - (depth - level) - 1
        shape.append((inside + 1) // (length + 1))
        length = inside + 2
    return tuple(reversed(shape)) or None


def _skeleton(shape: tuple[int, ...]) -> bytes:
    text = b"[" + b"," * (shape[-1] - 1) + b"]"
    for size in reversed(shape[:-1]):
        text = b"[" + (text + b",") * (size - 1) + text + b"]"
    return text
