"""Messages of one pattern that came together, as the rows of a matrix of their bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frontend.tensors import Array
from frontend.zmq.pattern import Pattern


class Burst:
    """Of one message or more, which the pattern matches."""

    __slots__ = ("_matrix", "pattern")

    def __init__(self, pattern: Pattern, matrix: Array) -> None:
        """`matrix`: their bytes, (messages, the pattern's length)."""
        self.pattern = pattern
        self._matrix = matrix

    @classmethod
    def of(cls, pattern: Pattern, messages: Sequence[bytes]) -> Burst:
        """They are of this pattern."""
        return cls(pattern, matrix_of(b"".join(messages), len(messages)))

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def packed_ids(self) -> Array:
        """Their ids as they stand there: bytes, (messages, an id's length)."""
        ids: Array = self._matrix[:, self.pattern.id_at]
        return ids

    @property
    def rows(self) -> Array:
        """The rows of all of them, one after the other."""
        numbers = np.ascontiguousarray(self._matrix[:, self.pattern.numbers_at :])
        return numbers.reshape(-1).view(self.pattern.dtype.numpy).reshape((-1, *self.pattern.input_shape[1:]))


def matrix_of(joined: bytes, count: int, offset: int = 0) -> Array:
    """The bytes of messages of one length, one after the other, behind so many others."""
    return np.frombuffer(joined, np.uint8, offset=offset).reshape(count, -1)
