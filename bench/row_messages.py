"""Requests of one row each to any model as ZeroMQ messages, and their answers checked many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgpack
import numpy as np
import numpy.typing as npt

from bench.asked_rows import AskedRows
from bench.zmq_messages import ID_BYTES, ID_FIELD

_NAMES: Final = {"float32": "float"}  # of the others numpy's are TensorFlow's
_FLOAT_BYTES: Final = 4


class RowRequests:
    """Request n has the id n and asks for row n modulo their number. `inputs` come last, where servers look for numbers."""

    def __init__(self, rows: AskedRows) -> None:
        messages = [_request(rows, index) for index in range(len(rows.inputs))]
        begin = messages[0].index(ID_FIELD) + len(ID_FIELD)
        self._head = messages[0][:begin]
        self._tails = [message[begin + ID_BYTES :] for message in messages]

    def message(self, number: int) -> bytes:
        return self._head + request_id(number) + self._tails[number % len(self._tails)]


class RowAnswers:
    """All must be of the first one's form, but for their ids and for the numbers at their end."""

    def __init__(self, rows: AskedRows, first: bytes) -> None:
        """`first`: the answer to request 0. Raises ValueError when it is not right."""
        self._rows = rows
        self._size = rows.answers.shape[1] * _FLOAT_BYTES
        _check(first, rows)
        begin = first.index(ID_FIELD) + len(ID_FIELD)
        #: Where the id is in each answer that is right.
        self.id = slice(begin, begin + ID_BYTES)
        self._sample = np.frombuffer(first, np.uint8)
        self._same = np.ones(len(first), dtype=bool)
        self._same[self.id] = self._same[len(first) - self._size :] = False
        if not self.right([first])[0]:
            raise ValueError(f"answered {first[:200]!r}")

    def right(self, answers: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Which of them are right answers to the requests whose ids they have."""
        length = len(self._sample)
        right = np.array([len(answer) == length for answer in answers], dtype=bool)
        whole = [answer for answer in answers if len(answer) == length]
        if whole:
            columns = np.frombuffer(b"".join(whole), np.uint8).reshape(len(whole), -1)
            alike = (columns[:, self._same] == self._sample[self._same]).all(axis=1)
            numbers = np.ascontiguousarray(columns[:, self.id]).view(">u8")[:, 0].astype(np.int64)
            floats = np.ascontiguousarray(columns[:, length - self._size :]).view("<f4")
            expected = self._rows.answers[numbers % len(self._rows.answers)]
            right[right] = alike & self._rows.agree(floats, expected)
        return right


def request_id(number: int) -> bytes:
    return number.to_bytes(ID_BYTES, "big")


def _request(rows: AskedRows, index: int) -> bytes:
    """As a request that is the only one of its kind."""
    row = rows.inputs[index : index + 1]
    tensor = [rows.input, _NAMES.get(row.dtype.name, row.dtype.name), list(row.shape), row.tobytes()]
    message: bytes = msgpack.packb({"v": 1, "model": rows.model, "id": bytes(ID_BYTES), "inputs": [tensor]})
    return message


def _check(answer: bytes, rows: AskedRows) -> None:
    """Is it an answer with one output, a row of so many floats at the end? Raises ValueError."""
    fields: Any = msgpack.unpackb(answer)
    try:
        ((_, dtype, shape, data),) = fields["outputs"]
        floats = (dtype, shape[0], int(np.prod(shape))) == ("float", 1, rows.answers.shape[1])
        right = fields["model"] == rows.model and floats and answer.endswith(data)
    except (KeyError, TypeError, ValueError, IndexError):
        right = False
    if not right:
        raise ValueError(f"answered {answer[:200]!r}")
