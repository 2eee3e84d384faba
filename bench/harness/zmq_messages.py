"""ZeroMQ messages of the load: requests but for their ids, and their answers checked around the ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bench.harness.answers import TOLERANCE, Expected
from bench.harness.request_set import Request, RequestSet
from bench.harness.transport import RIGHT, WRONG
from bench.zmq_messages import ID_BYTES, ID_FIELD
from ringserve.client.tensor_message import error_of, prediction_of, read_answer
from ringserve.errors import ServingError

#: A header, and the frames behind it.
Message = Sequence[bytes]

NO_ID: Final = bytes(ID_BYTES)


class ZmqRequest:
    """One of the set: `message` puts an id in, `kind` says whether an answer that has the id is right."""

    __slots__ = ("_expected", "_frames", "_head", "_right_head", "_right_tail", "_tail", "frames")

    def __init__(self, request: Request, requests: RequestSet) -> None:
        """Raises ValueError where there is no place for an id."""
        header, *self.frames = request.parts
        self._head, self._tail = around_id(header)
        answer = request.answer
        self._right_head, self._right_tail = around_id(answer[0])
        self._frames = list(answer[1:])
        tolerance = requests.about.get("tolerance", TOLERANCE)
        self._expected: Expected[Message] = Expected(answer, _key(answer), _outputs, tolerance)

    def header(self, identifier: bytes) -> bytes:
        return self._head + identifier + self._tail

    @property
    def answer_frames(self) -> int:
        """How many the right answer has behind its header."""
        return len(self._frames)

    def is_right_header(self, header: bytes) -> bool:
        """But for the frames behind it."""
        head, tail = self._right_head, self._right_tail
        return header.startswith(head) and header.endswith(tail) and len(header) == len(head) + ID_BYTES + len(tail)

    def kind(self, answer: Message) -> str:
        """Of the failure, or RIGHT."""
        if self.is_right_header(answer[0]) and self._frames == answer[1:]:
            return RIGHT
        try:
            fields = read_answer(answer[0], answer[1:])
            error = error_of(fields) if isinstance(fields, dict) else None
        except ServingError:
            return WRONG
        if error is not None:
            return error.code.name
        return RIGHT if self._expected.is_right(answer, _key(answer)) else WRONG


def around_id(header: bytes) -> tuple[bytes, bytes]:
    """What precedes and what follows it. Raises ValueError where there is none."""
    before, field, rest = header.partition(ID_FIELD)
    if not field or len(rest) < ID_BYTES:
        raise ValueError(f"a message without an id: {header[:100]!r}")
    return before + field, rest[ID_BYTES:]


def id_of(header: bytes) -> bytes:
    """b"" where none is to be found."""
    at = header.find(ID_FIELD)
    if at >= 0:
        at += len(ID_FIELD)
        return header[at : at + ID_BYTES]
    return b""


def _key(answer: Message) -> bytes:
    """All of it but the id."""
    return b"".join((*around_id(answer[0]), *answer[1:]))


def _outputs(answer: Message) -> Any:
    """Raises ServingError for what is no answer."""
    fields = read_answer(answer[0], [bytearray(frame) for frame in answer[1:]])
    if isinstance(fields, list):
        raise TypeError("several answers")
    return dict(prediction_of(fields, answer[1:]))
