"""A lane to a worker, as one thread uses it that waits for nothing: requests that were made ready in, kinds of answers out.

The client library's own lanes are used by many threads, and told by one more; that would be measured too.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.harness.answers import Expected
from bench.harness.payload import Inputs
from bench.harness.transport import RIGHT, WRONG
from ringserve.client.answers import Array
from ringserve.client.shm.inputs import checked_inputs, counted_rows, form_of, packed_inputs
from ringserve.client.shm.outputs import outputs_of
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.tensor_message import damaged
from ringserve.errors import ServingError
from shm.bell import Bell
from shm.lane import Lane
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer

#: What an answer is compared with.
Outputs = Expected[Mapping[str, Array]]


class LocalLane:
    """`unsent` requests wait for room in it. `is_over`: its worker has ended."""

    def __init__(self, message: Mapping[str, Any], descriptors: Sequence[int], inputs: Sequence[Inputs]) -> None:
        """From the server's message; `inputs` of all requests that are to be sent. Takes ownership of the descriptors.

        Raises ServingError where one of them does not fit, or the message can't be.
        """
        memory, bell = descriptors
        self.bell = Bell(bell)
        self.is_over = False
        try:
            self.terms = LaneTerms.of(message)
            self._producer = LaneProducer(Lane.attach(os.dup(memory), self.terms.spec))
            self._ready = [_ready(each, self.terms) for each in inputs]
        except (ServingError, ValueError, OSError) as error:
            self.bell.close()
            raise error if isinstance(error, ServingError) else damaged(str(error)) from error
        finally:
            os.close(memory)
        self._under_way: deque[tuple[int, int, int]] = deque()  # number, slot (-1: abandoned), request
        self._unsent: deque[tuple[int, int]] = deque()  # slot, request
        self._beaten = 0.0

    @property
    def slots(self) -> list[int]:
        """Whose requests have no answer."""
        return [slot for slot in (*(each[1] for each in self._under_way), *(each[0] for each in self._unsent)) if slot >= 0]

    def send(self, slot: int, request: int) -> None:
        if self._unsent or not self._submit(slot, request):
            self._unsent.append((slot, request))
        self.bell.ring()

    def abandon(self, slot: int) -> None:
        self._unsent = deque(each for each in self._unsent if each[0] != slot)
        for place, (number, whose, request) in enumerate(self._under_way):
            if whose == slot:
                self._under_way[place] = number, -1, request
                self._producer.abandon(number)

    def answers(self, expected: Sequence[Outputs]) -> Iterator[tuple[int, str]]:
        """Slots whose requests are answered, and the kind of failure or RIGHT."""
        under_way, producer = self._under_way, self._producer
        while under_way and under_way[0][0] < producer.completed:
            number, slot, request = under_way.popleft()
            kind = self._kind(number, expected[request]) if slot >= 0 else RIGHT
            producer.release(number + 1)
            if slot >= 0:
                yield slot, kind
        while self._unsent and self._submit(*self._unsent[0]):
            self._unsent.popleft()
            self.bell.ring()

    def hear(self) -> None:
        """The bell is readable."""
        self.is_over = not self.bell.clear()

    def beat(self) -> None:
        """Now and then: it is alive."""
        now = time.monotonic_ns()
        if now - self._beaten > 1e9:
            self._beaten = now
            self._producer.beat(now)

    def close(self) -> None:
        self.bell.close()

    def _submit(self, slot: int, request: int) -> bool:
        """False: there is no room."""
        columns, tensors, rows = self._ready[request]
        producer, now = self._producer, time.monotonic_ns()
        if columns is not None:
            number = producer.submit_rows(producer.submitted, rows, columns, now)
        else:
            number = producer.submit_packed(producer.submitted, rows, tensors, now)
        if number == FULL:
            return False
        self._under_way.append((number, slot, request))
        return True

    def _kind(self, number: int, expected: Outputs) -> str:
        try:
            outputs = dict(outputs_of(self._producer, self.terms, number, None))
        except ServingError as error:
            return error.code.name
        return RIGHT if expected.is_right(outputs, key_of(outputs)) else WRONG


def key_of(outputs: Mapping[str, Array]) -> bytes:
    """Bytes that are the same where outputs are."""
    arrays = outputs.values()
    return b"".join(array.tobytes() if array.dtype != object else repr(array.tolist()).encode() for array in arrays)


#: Columns, or packed tensors; and rows.
_Ready = tuple[Sequence[Array] | None, Sequence[PackedTensor], int]


def _ready(inputs: Inputs, terms: LaneTerms) -> _Ready:
    """Raises ServingError for what the signature does not take."""
    checked = checked_inputs(inputs, terms.signature)
    form, rows = form_of(checked)
    if form is not None and form == terms.form and rows <= terms.most_rows:
        return [each.values for each in checked], (), rows  # type: ignore[misc]  # a form has no strings
    return None, packed_inputs(checked, terms), counted_rows(rows)
