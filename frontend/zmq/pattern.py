"""Requests that differ from one another in nothing but their ids and their numbers are known without being parsed.

A client that asks the same of the same model again and again sends messages of one length, whose bytes are the same but for
the id and, at the end, the numbers of its one input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack
import numpy as np

from frontend.bodies.tensor_message import TensorRequest
from frontend.endpoint import Form
from frontend.tensors import Array, Tensor
from frontend.zmq.bodies import asks_for_a_model, predict_spec
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME

_LONGEST: Final = 64 << 10  # bytes of a message: a larger one's parsing does not matter
_MOST_LENGTHS: Final = 256
_MOST_OF_A_LENGTH: Final = 4
_BOOL: Final = BY_NAME["bool"]
# Bytes before what varies of an id, by its first byte; those of short texts and numbers are in `_free_from`.
_HEADS: Final = {
    **dict.fromkeys((0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF, 0xD0, 0xD1, 0xD2, 0xD3), 1),  # numbers
    **dict.fromkeys((0xC4, 0xD9), 2), **dict.fromkeys((0xC5, 0xDA), 3),  # bytes and texts, whose lengths stay
}  # fmt: skip


class Pattern:
    """What is the same in all of them. `request`: the first of them, as it was read, with its numbers."""

    __slots__ = (
        "_first",
        "_first_bytes",
        "_middle",
        "_middle_bytes",
        "checked",
        "dtype",
        "form",
        "id_at",
        "input_shape",
        "length",
        "numbers_at",
        "request",
        "spec",
    )

    def __init__(
        self, message: bytes, request: TensorRequest, tensor: Tensor, id_starts: int, id_ends: int, numbers: int
    ) -> None:
        self.request = request
        self.spec = predict_spec(request)
        #: A version's signatures, and that of them for which everything was checked that is the same in all messages.
        self.checked: tuple[Mapping[str, Signature], Signature] | None = None
        self.length = len(message)
        self.dtype = tensor.dtype
        self.input_shape = tensor.shape
        self.form: Form = ((tensor.dtype.number, tensor.shape[1:]),)
        self.id_at = slice(id_starts, id_ends)  # of a message
        self.numbers_at = numbers  # as far as its end
        self._first = message[: id_starts + _free_from(message[id_starts:id_ends])]
        self._middle = message[id_ends:numbers]
        self._first_bytes: Array = np.frombuffer(self._first, np.uint8)
        self._middle_bytes: Array = np.frombuffer(self._middle, np.uint8)

    @classmethod
    def of(cls, message: bytes, request: TensorRequest) -> Pattern | None:
        """None: messages like this one have to be parsed, each of them."""
        if len(message) > _LONGEST or len(request.inputs) != 1 or not asks_for_a_model(request):
            return None
        (tensor,) = request.inputs.values()
        data = tensor.data
        if isinstance(data, list) or not tensor.shape or not data.size or tensor.dtype is _BOOL:
            return None
        place = _id_place(message)
        if place is None:
            return None
        begin, end = place
        return cls(message, request, tensor, begin, end, len(message) - data.nbytes)

    def matches(self, message: bytes) -> bool:
        """Is it one of them? Of one of the same length."""
        return message.startswith(self._first) and message[self.id_at.stop : self.numbers_at] == self._middle

    def matches_all(self, matrix: Array) -> bool:
        """Are all of them? Of messages of the same length, the rows of a matrix."""
        first, middle = matrix[:, : len(self._first)], matrix[:, self.id_at.stop : self.numbers_at]
        return bool((middle == self._middle_bytes).all()) and bool((first == self._first_bytes).all())

    def packed_id(self, message: bytes) -> bytes:
        """Its id, as it stands there."""
        return message[self.id_at]

    def request_of(self, message: bytes) -> TensorRequest:
        """What reading it would give."""
        identifier: Any = msgpack.unpackb(self.packed_id(message), unicode_errors="surrogateescape")
        (alias,) = self.request.inputs
        array = np.frombuffer(message, self.dtype.numpy, offset=self.numbers_at).reshape(self.input_shape)
        inputs = {alias: Tensor(self.dtype, self.input_shape, array)}
        return self.request._replace(identifier=identifier, inputs=inputs)


def _id_place(message: bytes) -> tuple[int, int] | None:
    """Where the id lies, of a message that ends with its inputs; None where that is not so, or a field is there twice.

    Whatever reads like an id or like the inputs elsewhere, in a name, in other fields or among the numbers, is none.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(message), unicode_errors="surrogateescape")
    unpacker.feed(message)
    place = None
    for left in range(unpacker.read_map_header(), 0, -1):
        key = unpacker.unpack()
        begin = unpacker.tell()
        if key == "inputs":
            return place if left == 1 else None
        unpacker.skip()
        if key == "id":
            if place is not None:
                return None
            place = begin, unpacker.tell()
    return None


def _free_from(packed: bytes) -> int:
    """Where in an encoded id it begins that others of the same kind and length differ."""
    first = packed[0]
    if 0xA0 <= first <= 0xBF:  # a short text
        return 1
    return _HEADS.get(first, len(packed))  # a number that is its own first byte, nil and the like stay as they are


class Patterns:
    """Those that were met lately, so many at most."""

    def __init__(self) -> None:
        self._known: dict[int, list[Pattern]] = {}

    def find(self, message: bytes) -> Pattern | None:
        """The one that the message is of."""
        for pattern in self._known.get(len(message), ()):
            if pattern.matches(message):
                return pattern
        return None

    def of_length(self, length: int) -> Sequence[Pattern]:
        """Those whose messages have so many bytes."""
        return self._known.get(length, ())

    def note(self, message: bytes, request: TensorRequest) -> None:
        """A message that was parsed, since it is of none that is known."""
        pattern = Pattern.of(message, request)
        if pattern is None:
            return
        if len(message) not in self._known and len(self._known) >= _MOST_LENGTHS:
            self._known.clear()
        alike = self._known.setdefault(len(message), [])
        alike.insert(0, pattern)
        del alike[_MOST_OF_A_LENGTH:]
