"""The producer of the ring topologies: sends rows of `y = 0.5 x + 2` over a lane and checks every answer."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.ring_worker import Joined
from shm.producer import FULL

Array = npt.NDArray[Any]

# Request n sends n modulo a prime: the answer that a request of an earlier round left in its row is another one.
_PERIOD: Final = 7919
_BURST: Final = 1024  # requests of a call of `submit_each`, between two looks at the answers
_SINGLES: Final = 64  # calls of `submit_rows` between two rings of the doorbell


class WrongAnswerError(Exception):
    """An answer is not what the model computes."""


class RingClient:
    """One lane's front-end side, as a plain loop."""

    def __init__(self, joined: Joined) -> None:
        self._producer = joined.producer
        self._doorbell = joined.doorbell
        self._worker = joined.worker
        self._inputs: Array = np.tile(np.arange(_PERIOD, dtype=np.float32), 2)  # twice: a burst never has to wrap
        self._answers: Array = self._inputs / 2 + 2  # exact in float32
        self._rows = [[self._inputs[at : at + 1]] for at in range(_PERIOD)]

    def stream(self, seconds: float, single: bool) -> float:
        """Requests per second, as many on their way as the lane takes; each one's answer is checked.

        `single`: a call of `submit_rows` a request, as front ends do, instead of one `submit_each` a burst.
        """
        submit = self._submit_singles if single else self._submit_burst
        first = self._producer.submitted
        began = now = time.monotonic_ns()
        end = began + int(seconds * 1e9)
        while now < end:
            if submit(now):
                self._worker.ring()
            elif not self._collect():
                self._doorbell.wait()
            self._collect()
            now = time.monotonic_ns()
        self._drain()
        return (self._producer.released - first) / (time.monotonic_ns() - began) * 1e9

    def _submit_burst(self, now: int) -> int:
        number = self._producer.submitted
        at = number % _PERIOD
        return self._producer.submit_each(number, [self._inputs[at : at + _BURST]], now)

    def _submit_singles(self, now: int) -> int:
        producer, rows = self._producer, self._rows
        first = producer.submitted
        for number in range(first, first + _SINGLES):
            if producer.submit_rows(number, 1, rows[number % _PERIOD], now) == FULL:
                break
        return producer.submitted - first

    def _collect(self) -> int:
        """Check the answers that are there and give their slots back; how many. Raises WrongAnswerError."""
        producer = self._producer
        first = producer.released
        slot = first % producer.lane.spec.slots
        count = min(producer.completed - first, producer.lane.spec.slots - slot)
        if count:
            self._check(first, producer.lane.descriptors[slot : slot + count])
            producer.release(first + count)
        return count

    def _check(self, first: int, descriptors: Array) -> None:
        at = first % _PERIOD
        if descriptors["status"].any() or descriptors["answer_flags"].any():
            raise WrongAnswerError(f"a request of {first} and the {len(descriptors) - 1} after it failed")
        answers = self._producer.lane.outputs[0][descriptors["position"]]
        expected = self._answers[at : at + _PERIOD][: len(answers)]
        if not np.array_equal(answers, expected):
            wrong = int(np.argmax(answers != expected))
            raise WrongAnswerError(f"request {first + wrong}: {answers[wrong]} instead of {expected[wrong]}")

    def _drain(self) -> None:
        while self._producer.outstanding:
            if not self._collect():
                self._doorbell.wait()

    def ping(self, count: int) -> Array:
        """Send `count` requests, one at a time: how long each took until its answer was read, in ns."""
        producer, ring, wait = self._producer, self._worker.ring, self._doorbell.wait
        times = np.empty(count, dtype=np.int64)
        for index in range(count):
            began = time.monotonic_ns()
            number = producer.submit_rows(index, 1, self._rows[index % _PERIOD], began)
            ring()
            while producer.completed <= number:
                wait()
            rows = producer.answer_rows(number)
            answer = None if rows is None else rows[0][0]
            producer.release(number + 1)
            times[index] = time.monotonic_ns() - began
            if answer != self._answers[index % _PERIOD]:
                raise WrongAnswerError(f"request {number}: {answer} instead of {self._answers[index % _PERIOD]}")
        return times
