"""Answers of one message that differ in their ids and numbers only: the first of them is read, and the others as it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgpack
import numpy as np

from ringserve.client.answers import Array, Prediction, Source
from ringserve.client.tensor_message import error_of, prediction_of, read_answer
from ringserve.client.zmq.request_templates import ID_BYTES
from ringserve.errors import ServingError

_FEW: Final = 8  # which are quicker one by one
_ARRAY_16: Final = 0xDC
_HEAD_BYTES: Final = 3
_LONGEST: Final = 16 << 10  # bytes of an answer


class AlikeAnswers(NamedTuple):
    """`predictions`: with arrays of their own, one for each of the ids."""

    identifiers: list[bytes]
    predictions: Iterable[Prediction]


class _Layout(NamedTuple):
    """Of one answer: where its id lies, and the bytes of each output."""

    identifier: slice
    outputs: dict[str, slice]


def alike_answers(message: bytes) -> AlikeAnswers | None:
    """None: they are not, or it is too few of them to look."""
    if len(message) < _HEAD_BYTES or message[0] != _ARRAY_16:
        return None
    count = int.from_bytes(message[1:_HEAD_BYTES], "big")
    width, rest = divmod(len(message) - _HEAD_BYTES, max(count, 1))
    if count < _FEW or rest or width > _LONGEST:
        return None
    try:
        return _as_the_first(np.frombuffer(message, np.uint8, offset=_HEAD_BYTES).reshape(count, width))
    except (ValueError, TypeError, msgpack.UnpackException, ServingError):  # read one by one, it is said what is wrong
        return None


def _as_the_first(matrix: Array) -> AlikeAnswers | None:
    """Raises what reading the first one does."""
    first = matrix[0].tobytes()
    layout = _layout(first)
    if layout is None:
        return None
    fixed = np.ones(len(first), bool)
    for place in (layout.identifier, *layout.outputs.values()):
        fixed[place] = False
    prediction = _read(first)
    if prediction is None or not (matrix[:, fixed] == matrix[0, fixed]).all():
        return None
    columns = []
    for alias, place in layout.outputs.items():
        array = prediction[alias]
        if array.dtype.kind in "Ob" or not array.ndim:  # no numbers; bools are looked at one by one
            return None
        numbers = np.ascontiguousarray(matrix[:, place]).reshape(-1).view(array.dtype)
        columns.append(numbers.reshape(len(matrix), *array.shape))
    ids = matrix[:, layout.identifier].tobytes()
    identifiers = [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]
    return AlikeAnswers(identifiers, _predictions(prediction.source, list(layout.outputs), columns))


def _predictions(source: Source, aliases: list[str], columns: list[Array]) -> Iterable[Prediction]:
    if len(aliases) == 1:
        (alias,) = aliases
        return (Prediction(((alias, row.copy()),), source) for row in columns[0])
    return (
        Prediction([(alias, row.copy()) for alias, row in zip(aliases, rows, strict=True)], source)
        for rows in zip(*columns, strict=True)
    )


def _read(answer: bytes) -> Prediction | None:
    """Raises ServingError."""
    fields = read_answer(answer)
    return None if isinstance(fields, list) or error_of(fields) is not None else prediction_of(fields)


def _layout(answer: bytes) -> _Layout | None:
    """None for anything else than an answer with bytes for each output. Raises what msgpack does."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(answer), unicode_errors="replace")
    unpacker.feed(answer)
    identifier: slice | None = None
    outputs: dict[str, slice] = {}
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        if key == "id":
            if identifier is not None or not isinstance(found := unpacker.unpack(), bytes) or len(found) != ID_BYTES:
                return None
            identifier = slice(unpacker.tell() - ID_BYTES, unpacker.tell())
        elif key == "outputs":
            if outputs:
                return None
            for _ in range(unpacker.read_array_header()):
                if unpacker.read_array_header() != 4:
                    return None
                alias, _, _, data = (unpacker.unpack() for _ in range(4))
                if not isinstance(alias, str) or alias in outputs or not isinstance(data, bytes):
                    return None
                outputs[alias] = slice(unpacker.tell() - len(data), unpacker.tell())
        else:
            unpacker.skip()
    whole = unpacker.tell() == len(answer)
    return _Layout(identifier, outputs) if identifier is not None and outputs and whole else None
