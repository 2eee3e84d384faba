"""A million requests between two real processes, every answer checked; once with workers killed in the middle of it.

The producer is the test's process. The consumer is this file run as a program, with the lane and the doorbells inherited.
Both sides can tell from a request's id alone what its rows are and what their answer is, so that nothing may be lost,
swapped, torn or seen too early without being noticed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from shm import packed
from shm.consumer import LaneConsumer, Ticket
from shm.doorbell import Doorbell
from shm.lane import Array, Lane
from shm.layout import COMPLETED, PACKED, SUBMITTED, TAKEN, Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer

ROOT = Path(__file__).parents[3]
SPEC = LaneSpec(
    inputs=(Column("<u8", (4,)), Column("<u8", ())),  # payload and its checksum
    outputs=(Column("<u8", (2,)),),
    rows=2048,
    slots=1024,
    request_bytes=1 << 16,
    answer_bytes=1 << 16,
)
FIRST_ID = 1 << 40  # of request number 0; the others count up
MOST_ROWS = 32  # of one request
STOP = 0xDEAD  # dtype of the packed request after which the consumer ends
PATIENCE = 20.0  # seconds that either side waits for the other before it calls that a hang
KILLS = 16
CHILD_SECONDS = 120  # after which a forgotten consumer ends by itself

Words = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_LANES = np.arange(1, 5, dtype=np.uint64) * np.uint64(0x632BE59BD9B4E019)


def mix(words: Words) -> Words:
    words = words * _ODD
    return words ^ (words >> np.uint64(29))


def payload_of(ids: Words, within: Words) -> Words:
    """The payload of row `within` of request `ids`."""
    return mix((ids * np.uint64(64) + within)[:, None] + _LANES)


def checksum_of(ids: Words, payload: Words) -> Words:
    return mix(payload.sum(axis=1, dtype=np.uint64) ^ ids)


def answer_of(ids: Words, payload: Words) -> Words:
    return mix(payload[:, :2] + payload[:, 2:] ^ ids[:, None])


def spread(ids: Words, rows: Words) -> tuple[Words, Words]:
    """Of every row of these requests: the request's id, and which of its rows it is."""
    rows = rows.astype(np.int64)
    starts = np.cumsum(rows) - rows
    within = np.arange(int(rows.sum()), dtype=np.int64) - np.repeat(starts, rows)
    return np.repeat(ids, rows), within.astype(np.uint64)


def columns_of(ids: Words, rows: Words) -> list[Array]:
    ids, within = spread(ids, rows)
    payload = payload_of(ids, within)
    return [payload, checksum_of(ids, payload)]


def packed_of(request_id: int) -> list[PackedTensor]:
    """Some hundred bytes of numbers, and strings."""
    ids = np.full(1 + request_id % 61, request_id, np.uint64)
    payload = payload_of(ids, np.arange(len(ids), dtype=np.uint64))
    texts = [b"%d" % request_id, b"", b"x" * (request_id % 7)]
    return [PackedTensor(23, payload.shape, payload.tobytes()), PackedTensor(7, (3,), packed.pack_strings(texts))]


def packed_answer_of(request_id: int, tensors: list[PackedTensor]) -> list[PackedTensor]:
    numbers = np.frombuffer(tensors[0].data, np.uint64) ^ np.uint64(request_id)
    texts = packed.pack_strings(packed.unpack_strings(tensors[1].data, 3)[::-1])
    return [PackedTensor(23, tensors[0].shape, numbers.tobytes()), PackedTensor(7, (3,), texts)]


class Worker:
    """The consumer's process. A batch is as many rows as lie in one piece, or one packed request."""

    def __init__(self, lane_fd: int, own_bell: int, front_end_bell: int, seed: int) -> None:
        self.consumer = LaneConsumer(Lane.attach(lane_fd, SPEC))
        self.bell = Doorbell(own_bell)
        self.front_end = Doorbell(front_end_bell)
        self.random = np.random.default_rng(seed)
        self.stopped = False

    def run(self) -> None:
        """The requests that wait already were rung for in a predecessor's time; so were its answers, perhaps."""
        self.front_end.ring()
        while not self.stopped:
            if not self.consumer.waiting:
                if not self.bell.wait(PATIENCE):
                    raise TimeoutError("the producer has stopped")
                continue
            tickets = [self.batch()]
            if self.consumer.waiting and self.random.random() < 0.3:
                tickets.insert(0, self.batch())  # and is finished first
            for ticket in tickets:
                if self.consumer.finish(ticket):
                    self.front_end.ring()

    def batch(self) -> Ticket:
        consumer = self.consumer
        most = int(self.random.integers(1, 400))
        window = consumer.window(min(consumer.waiting, most))
        if int(window["flags"][0]) & PACKED:
            return self.run_packed(int(window["id"][0]))
        rows = window["rows"].astype(np.int64)
        ends = int(window["position"][0]) + np.cumsum(rows)
        together = (window["position"] == ends - rows) & (window["flags"] == 0)
        count = len(window) if together.all() else int(np.argmin(together))
        ids, within = spread(window["id"][:count], window["rows"][:count])
        start, end = int(window["position"][0]), int(ends[count - 1])
        ticket = consumer.take(count)
        payload, checksums = (column[start:end] for column in consumer.lane.inputs)
        if not np.array_equal(payload, payload_of(ids, within)) or not (checksums == checksum_of(ids, payload)).all():
            raise AssertionError(f"rows of requests [{ticket.start}, {ticket.end}) are not what was submitted")
        consumer.lane.outputs[0][start:end] = answer_of(ids, payload)
        return ticket

    def run_packed(self, request_id: int) -> Ticket:
        ticket = self.consumer.take(1)
        tensors = self.consumer.request(ticket.start)
        if tensors[0].dtype == STOP:
            self.stopped = True
            return ticket
        expected = packed_of(request_id)
        if [(dtype, shape, bytes(data)) for dtype, shape, data in tensors] != expected:
            raise AssertionError(f"packed request {ticket.start} is not what was submitted")
        give_up = time.monotonic() + PATIENCE
        while not self.consumer.answer(ticket.start, packed_answer_of(request_id, tensors)):
            self.bell.wait(PATIENCE)  # the front end rings for what it has read, too
            if time.monotonic() > give_up:
                raise TimeoutError("the producer reads no answers")
        return ticket


class FrontEnd:
    """The producer's process: submits a random mixture, reads the answers in random steps and checks each."""

    def __init__(self, total: int, seed: int) -> None:
        self.lane = Lane.create(SPEC, {})
        self.producer = LaneProducer(self.lane)
        self.worker_bell = Doorbell.create()
        self.bell = Doorbell.create()
        self.random = np.random.default_rng(seed)
        self.total = total
        # By request number; 0: packed. Where workers are killed, there may be more requests than the total.
        self.rows = np.zeros(2 * total, np.uint64)
        self.worker: subprocess.Popen[bytes] | None = None
        self.packed_read = 0
        self.full = 0

    def __enter__(self) -> Self:
        self.start_worker()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill_worker()
        for resource in (self.lane, self.worker_bell, self.bell):
            resource.close()

    def start_worker(self) -> None:
        fds = [self.lane.segment.fd, self.worker_bell.fd, self.bell.fd]
        seed = int(self.random.integers(1 << 30))
        command = [sys.executable, __file__, *map(str, fds), str(seed)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.worker = subprocess.Popen(command, pass_fds=fds, env=environment)

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait(PATIENCE)

    def ids(self, count: int) -> Words:
        return np.arange(count, dtype=np.uint64) + np.uint64(FIRST_ID + self.producer.submitted)

    def submit_some(self) -> bool:
        """One kind of submit, some of it; False when the lane was full before the end of it."""
        before = self.producer.submitted
        kind = self.random.random()
        if kind < 0.80:
            done = self.submit_burst(int(self.random.integers(1, 600)))
        elif kind < 0.87:
            done = self.submit_rows([1] * int(self.random.integers(1, 400)))
        elif kind < 0.95:
            done = self.submit_rows(self.random.integers(1, MOST_ROWS, 40).tolist())
        else:
            done = self.submit_packed(int(self.random.integers(1, 60)))
        if self.producer.submitted > before:
            self.worker_bell.ring()
        return done

    def submit_burst(self, count: int) -> bool:
        number = self.producer.submitted
        ids = self.ids(count)
        taken = self.producer.submit_each(int(ids[0]), columns_of(ids, np.ones(count, np.uint64)), 1)
        self.rows[number : number + taken] = 1
        return taken == count

    def submit_rows(self, rows: list[int]) -> bool:
        ids = self.ids(len(rows))
        columns = columns_of(ids, np.array(rows, np.uint64))
        at = 0
        for request_id, count in zip(ids.tolist(), rows, strict=True):
            arrays = [column[at : at + count] for column in columns]
            number = self.producer.submit_rows(request_id, count, arrays, 1)
            if number == FULL:
                return False
            self.rows[number] = count
            at += count
        return True

    def submit_packed(self, count: int) -> bool:
        for _ in range(count):
            request_id = FIRST_ID + self.producer.submitted
            if self.producer.submit_packed(request_id, 1, packed_of(request_id), 1) == FULL:
                return False
        return True

    def read_some(self) -> bool:
        """Check and give back a random part of the answers that are there; False when there are none."""
        start, end = self.producer.released, self.producer.completed
        if start == end:
            return False
        end = start + int(self.random.integers(1, end - start + 1))
        numbers = np.arange(start, end)
        slots = self.lane.descriptors[numbers % SPEC.slots]
        ids = numbers.astype(np.uint64) + np.uint64(FIRST_ID)
        assert (slots["id"] == ids).all()
        assert (slots["status"] == 0).all()
        rows = self.rows[start:end]
        assert ((slots["answer_flags"] == 0) == (rows > 0)).all()
        self.check_rows(ids, rows, slots["position"])
        for number in numbers[rows == 0].tolist():
            self.check_packed(number)
        self.producer.release(end)
        self.worker_bell.ring()
        return True

    def check_rows(self, ids: Words, rows: Words, positions: Words) -> None:
        all_ids, within = spread(ids, rows)
        places = np.repeat(positions, rows.astype(np.int64)) + within
        expected = answer_of(all_ids, payload_of(all_ids, within))
        np.testing.assert_array_equal(self.lane.outputs[0][places.astype(np.int64)], expected)

    def check_packed(self, number: int) -> None:
        request_id = FIRST_ID + number
        expected = packed_answer_of(request_id, packed_of(request_id))
        tensors = self.producer.answer_packed(number)
        assert [(dtype, shape, bytes(data)) for dtype, shape, data in tensors] == expected
        self.packed_read += 1

    def wait_for_answers(self) -> None:
        while not self.read_some():
            assert self.bell.wait(PATIENCE), "the worker has stopped"

    def turn(self) -> None:
        """Submit; read what has come meanwhile, and where there was no room, wait for some."""
        if not self.submit_some():
            self.full += 1
            self.wait_for_answers()
        elif self.random.random() < 0.5:
            self.read_some()

    def catch_worker_at_work(self) -> None:
        """Return while a batch is begun and not finished, as far as can be told from here."""
        words = self.lane.words
        give_up = time.monotonic() + PATIENCE
        while words[TAKEN] == words[COMPLETED]:
            if words[COMPLETED] == words[SUBMITTED]:
                self.turn()
            assert time.monotonic() < give_up, "the worker has stopped"

    def finish(self) -> int:
        """Read the rest and ask the worker to end; its exit status."""
        while self.producer.outstanding:
            self.wait_for_answers()
        self.producer.submit_packed(0, 1, [PackedTensor(STOP, (0,), b"")], 1)
        self.worker_bell.ring()
        assert self.worker is not None
        return self.worker.wait(PATIENCE)


def test_a_million_requests() -> None:
    with FrontEnd(total=1_000_000, seed=1) as front_end:
        while front_end.producer.submitted < front_end.total:
            front_end.turn()
        assert front_end.finish() == 0
        assert front_end.producer.released >= front_end.total
        assert front_end.packed_read > 1000
        assert front_end.full > 100, "a lane that was never full was not put to the test"


def test_killed_workers_lose_nothing() -> None:
    with FrontEnd(total=400_000, seed=2) as front_end:
        suspects = 0
        words = front_end.lane.words
        for index, step in enumerate(front_end.random.integers(0, 40_000, KILLS).tolist()):
            moment = front_end.producer.completed + step  # soon: the worker has hardly started then
            while front_end.producer.completed < moment:
                front_end.turn()
            if index % 2:
                front_end.catch_worker_at_work()
            front_end.kill_worker()
            suspects += words[TAKEN] > words[COMPLETED]
            front_end.start_worker()
        while front_end.producer.submitted < front_end.total:
            front_end.turn()
        assert front_end.finish() == 0
        assert front_end.producer.released >= front_end.total
        assert suspects, "all were killed in their sleep"


def main(lane_fd: int, own_bell: int, front_end_bell: int, seed: int) -> None:
    signal.alarm(CHILD_SECONDS)
    Worker(lane_fd, own_bell, front_end_bell, seed).run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
