"""Serialised tf.Examples as the REST API takes them: JSON objects, whose values say the features' kinds."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ringserve.client.operations import Classify, Regress
from ringserve.errors import Code, ServingError
from ringserve.packed_varints import unpack
from ringserve.protobuf_wire import BYTES, FIXED32, VARINT, WireError, fields, signed, text

_INT64: Final = np.dtype("<i8")
_FLOAT: Final = np.dtype("<f4")


def examples_body(operation: Classify | Regress) -> bytes:
    """Raises ServingError (INVALID_ARGUMENT) for what is no tf.Example."""
    document: dict[str, Any] = {}
    if operation.signature:
        document["signature_name"] = operation.signature
    if operation.context is not None:
        document["context"] = _example(operation.context, "The context")
    document["examples"] = [_example(example, f"Example {number}") for number, example in enumerate(operation.examples)]
    return json.dumps(document).encode()


def _example(message: bytes, what: str) -> dict[str, list[Any]]:
    features: dict[str, list[Any]] = {}
    try:
        for number, wire, start, stop in fields(message, 0, len(message)):
            if number == 1 and wire == BYTES:
                _read_features(message, start, stop, features)
    except WireError as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"{what} is no serialised tf.Example: {error}") from error
    return features


def _read_features(message: bytes, start: int, stop: int, features: dict[str, list[Any]]) -> None:
    for number, wire, begin, end in fields(message, start, stop):
        if number != 1 or wire != BYTES:
            continue
        name = ""
        values: list[Any] = []
        for key, kind, inner_begin, inner_end in fields(message, begin, end):
            if key == 1 and kind == BYTES:
                name = text(message, inner_begin, inner_end)
            elif key == 2 and kind == BYTES:
                values = _feature(message, inner_begin, inner_end)
        features[name] = values  # of several with one name the last counts


def _feature(message: bytes, start: int, stop: int) -> list[Any]:
    kind = 0
    values: list[Any] = []
    for number, wire, begin, end in fields(message, start, stop):
        if wire != BYTES or number not in _LISTS:
            continue
        if number != kind:  # of several kinds the last counts, of one kind all lists
            kind, values = number, []
        values += _LISTS[number](message, begin, end)
    return values


def _texts(message: bytes, start: int, stop: int) -> list[Any]:
    """As base64: the texts may be anything."""
    return [
        {"b64": base64.b64encode(message[begin:end]).decode()}
        for number, wire, begin, end in fields(message, start, stop)
        if number == 1 and wire == BYTES
    ]


def _floats(message: bytes, start: int, stop: int) -> list[Any]:
    values: list[Any] = []
    for number, wire, begin, end in fields(message, start, stop):
        if number != 1 or wire not in (BYTES, FIXED32):
            continue
        if (end - begin) % _FLOAT.itemsize:
            raise WireError(f"the numbers at byte {begin} are not whole")
        values += np.frombuffer(message, _FLOAT, (end - begin) // _FLOAT.itemsize, begin).tolist()
    return values


def _integers(message: bytes, start: int, stop: int) -> list[Any]:
    values: list[Any] = []
    for number, wire, begin, end in fields(message, start, stop):
        if number == 1 and wire == BYTES:
            values += unpack(message, begin, end, _INT64).tolist()
        elif number == 1 and wire == VARINT:
            values.append(signed(begin))
    return values


_LISTS: Final[dict[int, Callable[[bytes, int, int], list[Any]]]] = {1: _texts, 2: _floats, 3: _integers}
