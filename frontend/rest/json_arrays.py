"""Nested lists of numbers to arrays, the fast ways. None means: this needs the slow way, which also knows every error."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from math import prod
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
_ONLY_LISTS: Final = {list}
_FEW: Final = 1024  # numbers, below which to turn numpy's warnings off takes longer than is lost by one
_RULES[BY_NAME["string"].number] = _Rule(frozenset((str,)), None, None)


def tensor_from_lists(value: list[Any], dtype: DType) -> Tensor | None:
    """The tensor of a non-empty nested list of one shape, None where its elements are not all plainly of this dtype."""
    rule = _RULES.get(dtype.number)
    shape: tuple[int, ...] = (len(value),)
    flat = value
    while flat and type(flat[0]) is list:
        size = len(flat[0])
        shape = (*shape, size)
        if len(shape) > MOST_DIMS:
            return None
        if len(flat) == 1:
            flat = flat[0]
        elif set(map(type, flat)) != _ONLY_LISTS or set(map(len, flat)) != {size}:
            return None
        else:
            flat = list(chain.from_iterable(flat))
    if rule is None or not flat or not rule.kinds.issuperset(map(type, flat)):
        return None
    if rule.parsed is None:
        return Tensor(dtype, shape, list(map(text_bytes, flat)))
    try:
        if len(flat) < _FEW or rule.parsed != np.float32:
            array = np.array(flat, rule.parsed)
        else:
            with np.errstate(over="ignore"):  # too large for a float32 is infinite
                array = np.array(flat, rule.parsed)
    except OverflowError:
        return None
    if rule.kept is not None:
        array = array.astype(rule.kept)
    return Tensor(dtype, shape, array if len(shape) == 1 else array.reshape(shape))


class NumberBody(NamedTuple):
    """A whole predict body that is one array of numbers: parsed without a Python object a number."""

    key: str  # "instances" or "inputs"
    signature: str
    shape: tuple[int, ...]
    text: bytes | memoryview  # of the array

    def tensor(self, dtype: DType) -> Tensor | None:
        """None where the numbers are not all of this dtype."""
        rule = _NUMBERS.get(dtype.number)
        if rule is None:
            return None
        try:
            # A parser keeps its memory, up to 12 times the text, which would cost a third of the time to get again.
            parser = _parser if len(self.text) <= _KEPT_TEXT else simdjson.Parser()
            array: Any = parser.parse(self.text)
            numbers = np.frombuffer(array.as_buffer(of_type=rule.kind), rule.storage)
        except (ValueError, TypeError, RuntimeError):  # RuntimeError: more than 64 bits
            return None
        if numbers.size != prod(self.shape):
            return None
        if rule.limits is not None and (numbers.min() < rule.limits[0] or numbers.max() > rule.limits[1]):
            return None
        numbers = numbers.reshape(self.shape)
        if numbers.size < _FEW or rule.kept != np.float32:
            return Tensor(dtype, self.shape, numbers.astype(rule.kept, copy=False))
        with np.errstate(over="ignore"):  # too large for a float32 is infinite
            return Tensor(dtype, self.shape, numbers.astype(np.float32))


class _Numbers(NamedTuple):
    """How simdjson is to read a dtype's numbers, and what they are kept as."""

    kind: str
    storage: np.dtype[Any]
    kept: np.dtype[Any]
    limits: tuple[int, int] | None  # where they are narrower than what is read


def _numbers(name: str) -> _Numbers:
    kept = np.dtype(BY_NAME[name].numpy)
    if name in FLOATS:
        return _Numbers("d", np.dtype("<f8"), kept, None)
    if name == "uint64":
        return _Numbers("u", kept, kept, None)
    return _Numbers("i", np.dtype("<i8"), kept, None if name == "int64" else INTEGERS[name])


_NUMBERS: Final = {BY_NAME[name].number: _numbers(name) for name in (*FLOATS, *INTEGERS)}
SMALLEST_NUMBER_BODY: Final = 160  # bytes; below, the ordinary way is faster
_KEPT_TEXT: Final = 4 << 20
_SMALL_TEXT: Final = 4 << 10
_parser: Final = simdjson.Parser()

_SIGNATURE: Final = rb'"signature_name"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9_./:-]*)"[ \t\r\n]*'
_BEFORE: Final = re.compile(
    rb"[ \t\r\n]*\{[ \t\r\n]*(?:"
    + _SIGNATURE
    + rb',[ \t\r\n]*)?"(instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[[\[ \t\r\n]*[-0-9])'
)
_AFTER: Final = re.compile(rb"[ \t\r\n]*(?:,[ \t\r\n]*" + _SIGNATURE + rb")?\}[ \t\r\n]*")
_NUMERIC: Final = b"0123456789+-.eE \t\r\n"
_MOST_LEVELS: Final = 32
_SMALL_STRUCTURE: Final = 512  # bytes of one that is worth remembering


def number_body(body: bytes) -> NumberBody | None:
    """The body as one array of numbers, if it is `{"instances" or "inputs": [numbers…]}` with all lists of a level alike."""
    before = _BEFORE.match(body)
    if before is None:
        return None
    start = before.end()
    end = body.rfind(b"]") + 1
    if end <= start:
        return None
    signature, key = before.groups()
    if body[end:] != b"}":
        after = _AFTER.fullmatch(body, end)
        if after is None or (signature is not None and after[1] is not None):
            return None
        signature = signature or after[1]
    # With the numbers' characters taken out, brackets and commas are left: for lists that are all alike, one known text.
    text: bytes | memoryview
    if len(body) <= _SMALL_TEXT:
        text = body[start:end]
        structure = text.translate(None, _NUMERIC)
    else:  # without a copy
        text = memoryview(body)[start:end]
        ahead, behind = (len(side.translate(None, _NUMERIC)) for side in (body[:start], body[end:]))
        structure = body.translate(None, _NUMERIC)[ahead:-behind]
    shape = _known_shape(structure) if len(structure) <= _SMALL_STRUCTURE else _shape(structure)
    if shape is None:
        return None
    return NumberBody(key.decode(), signature.decode() if signature else "", shape, text)


def _shape(structure: bytes) -> tuple[int, ...] | None:
    """The shape of lists that are all alike; None where they are not.

    What the first list of every level says is the shape, if all others are as that would have them.
    """
    depth = len(structure) - len(structure.lstrip(b"["))
    first = structure.find(b"]")
    if not 0 < depth <= _MOST_LEVELS or first < depth:
        return None
    shape = [first - depth + 1]
    length = shape[0] + 1  # of a list's structure
    end = first + 1  # of the first list of this level
    marks = np.frombuffer(structure, np.uint8)
    while len(shape) < depth:
        if end >= len(structure):
            return None
        # A list is followed by a comma while there are more of them: the first without is the last one.
        last = marks[end :: length + 1] != _COMMA
        shape.append(int(last.argmax()) + 1)
        end += (length + 1) * (shape[-1] - 1) + 1
        length = (length + 1) * shape[-1] + 1
    shape.reverse()
    return tuple(shape) if structure == _skeleton(shape) else None


_COMMA: Final = ord(",")
_known_shape: Final = lru_cache(maxsize=1024)(_shape)


def _skeleton(shape: list[int]) -> bytes:
    text = b"[" + b"," * (shape[-1] - 1) + b"]"
    for size in reversed(shape[:-1]):
        text = b"[" + (text + b",") * (size - 1) + text + b"]"
    return text
