"""Requests to half_plus_two as ZeroMQ messages, made many at a time, and their answers checked many at a time.

A generator that made and read each by itself would take longer for it than what is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import msgpack
import numpy as np
import numpy.typing as npt

from bench.half_plus_two import NAME

_PERIOD: Final = 7919  # values are below it: exact in float32, and half of them too
_BLOCK: Final = 1 << 18  # bytes of messages that are made at once
ID_FIELD: Final = b"\xa2id\xc4\x08"  # "id": eight bytes
ID_BYTES: Final = 8
_FLOAT_BYTES: Final = 4

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answering:
    """What is there to answer: y = scale x + offset."""

    scale: float
    offset: float
    is_echo: bool


MODEL: Final = Answering(0.5, 2.0, is_echo=False)
ECHO: Final = Answering(1.0, 0.0, is_echo=True)


class Requests:
    """Request n has the id n. They differ in their ids and in their numbers, nothing else."""

    def __init__(self, rows: int = 1) -> None:
        """`rows`: of the one input; where there are several, each is a request of its own ("each")."""
        self.rows = rows
        fields: dict[str, Any] = {"v": 1, "model": NAME, **({"each": True} if rows > 1 else {})}
        fields |= {"id": bytes(ID_BYTES), "inputs": [["x", "float", [rows], bytes(rows * _FLOAT_BYTES)]]}
        self._form = _Form(msgpack.packb(fields), rows)

    def messages(self) -> Iterator[bytes]:
        """One after the other, without an end."""
        length = len(self._form.sample)
        most = max(_BLOCK // length, 1)
        for block in count(0, most):
            joined = self._form.joined(np.arange(block, block + most))
            for at in range(0, len(joined), length):
                yield joined[at : at + length]


class Answers:
    """Takes answers in any order: which requests are answered, and rightly."""

    def __init__(self, rows: int, answering: Answering, first: bytes) -> None:
        """`first`: the answer to request 0, of whose form all others must be. Raises ValueError when it is not right."""
        self._answering = answering
        if not answering.is_echo:
            _check(first, rows)
        self._form = _Form(first, rows)
        self._answered = np.zeros(1 << 16, dtype=bool)
        if not self._right(self._form.columns([first])).all():
            raise ValueError(f"answered {first[:200]!r}")

    @property
    def answered(self) -> int:
        """Different requests with a right answer."""
        return int(self._answered.sum())

    def take(self, answers: Sequence[bytes]) -> None:
        """What is not right answers nothing."""
        length = len(self._form.sample)
        whole = [answer for answer in answers if len(answer) == length]
        if not whole:
            return
        columns = self._form.columns(whole)
        numbers = self._form.numbers(columns)[self._right(columns)]
        numbers = numbers[numbers >= 0]
        highest = int(numbers.max(initial=0))
        if highest >= len(self._answered):
            self._answered = np.concatenate([self._answered, np.zeros(max(highest, len(self._answered)), dtype=bool)])
        self._answered[numbers] = True

    def _right(self, columns: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        expected = self._form.values(self._form.numbers(columns)) * np.float32(self._answering.scale)
        expected += np.float32(self._answering.offset)
        right: npt.NDArray[np.bool_] = self._form.alike(columns)
        right &= (self._form.floats(columns) == expected).all(axis=1)
        return right


class _Form:
    """Messages that are a sample but for the eight bytes of their id and for the floats at their end."""

    def __init__(self, sample: bytes, rows: int) -> None:
        """Raises ValueError when there is no id in it."""
        self.sample = sample
        self._template = np.frombuffer(sample, np.uint8)
        self._rows = rows
        begin = sample.index(ID_FIELD) + len(ID_FIELD)
        self._id = slice(begin, begin + ID_BYTES)
        self._floats = slice(len(sample) - rows * _FLOAT_BYTES, len(sample))
        self._same = np.ones(len(sample), dtype=bool)
        self._same[self._id] = self._same[self._floats] = False

    def joined(self, numbers: Numbers) -> bytes:
        """The messages of these numbers, one after the other."""
        columns = np.tile(self._template, (len(numbers), 1))
        columns[:, self._id] = numbers.astype(">i8").view(np.uint8).reshape(-1, ID_BYTES)
        columns[:, self._floats] = self.values(numbers).view(np.uint8)
        return columns.tobytes()

    def values(self, numbers: Numbers) -> npt.NDArray[np.float32]:
        """What the requests of these numbers send."""
        inputs: Numbers = (numbers[:, np.newaxis] * self._rows + np.arange(self._rows)) % _PERIOD
        return inputs.astype("<f4")

    def columns(self, messages: Sequence[bytes]) -> npt.NDArray[np.uint8]:
        """A row of bytes for each."""
        return np.frombuffer(b"".join(messages), np.uint8).reshape(len(messages), -1)

    def numbers(self, columns: npt.NDArray[np.uint8]) -> Numbers:
        numbers: Numbers = np.ascontiguousarray(columns[:, self._id]).view(">i8")[:, 0].astype(np.int64)
        return numbers

    def floats(self, columns: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(columns[:, self._floats]).view("<f4")

    def alike(self, columns: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Is the rest as in the sample?"""
        alike: npt.NDArray[np.bool_] = (columns[:, self._same] == self._template[self._same]).all(axis=1)
        return alike


def _check(answer: bytes, rows: int) -> None:
    """Is it one of half_plus_two's, with so many rows? Raises ValueError."""
    fields: Any = msgpack.unpackb(answer)
    try:
        ((name, dtype, shape, data),) = fields["outputs"]
        right = (name, dtype, shape, "errors" in fields) == ("y", "float", [rows], False) and answer.endswith(data)
    except (KeyError, TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(f"answered {answer[:200]!r}")
