"""A client that writes anything anywhere into its lane, at any moment, while a front end's requests share its batches.

The client is a process of its own: this file run as a program, with the lane and its bell inherited. Worker and model run in
the test's process, so that a crash of theirs is one of the test.
"""

from __future__ import annotations

import logging
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))

from shm import packed
from shm.lane import Lane
from shm.layout import (
    COMPLETED,
    DESCRIPTOR_WORDS,
    FLAGS_SHIFT,
    LENGTH_WORD,
    POSITION_WORD,
    RELEASED,
    ROWS_WORD,
    SUBMITTED,
    Column,
    LaneSpec,
)
from shm.packed import PackedTensor
from shm.segment import Segment

ROOT = Path(__file__).parents[3]
FLOATS = Column("<f4", ())
WITH_COLUMNS = LaneSpec((FLOATS,), (FLOATS,), rows=256, slots=64, request_bytes=1 << 14, answer_bytes=1 << 14)
PACKED_ONLY = LaneSpec(rows=0, slots=64, request_bytes=1 << 14, answer_bytes=1 << 14)
SPECS = {"rows": WITH_COLUMNS, "text": PACKED_ONLY}
SECONDS = 2.0
CHILD_SECONDS = 60
STRANGE = [0, 1, 2, 7, 63, 64, 255, 256, 257, 4096, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 64, 2**64 - 1]


class Hostile:
    """Mostly its words look right, or the lane would be closed before anything is run."""

    def __init__(self, kind: str, fd: int, bell: int, seed: int) -> None:
        spec = self.spec = SPECS[kind]
        self.lane = Lane(Segment(fd, spec.size), spec)
        self.bell = socket.socket(fileno=bell)
        self.bell.setblocking(False)
        self.random = random.Random(seed)
        self.dtype = 1 if kind == "rows" else 7

    def go_on(self) -> None:
        self.random.choices(
            [self.submit, self.change_descriptor, self.change_bytes, self.change_rows, self.change_cursor, self.ring],
            [8, 6, 6, 4, 0.02, 4],
        )[0]()

    def submit(self) -> None:
        words, pick = self.lane.words, self.random
        completed = words[COMPLETED] % 2**40
        words[RELEASED] = completed
        submitted = words[SUBMITTED]
        if not completed <= submitted < completed + self.spec.slots:
            submitted = completed  # the worker has begun anew
        count = pick.randint(1, max(1, completed + self.spec.slots - submitted))
        row = pick.randrange(64)
        for number in range(submitted, submitted + count):
            base = number % self.spec.slots * DESCRIPTOR_WORDS
            descriptor = self.lane.descriptor_words[base : base + DESCRIPTOR_WORDS]
            descriptor[:] = memoryview(bytes(64)).cast("Q")
            descriptor[1] = pick.choice([0, time.monotonic_ns(), 2**64 - 1])
            descriptor[2] = pick.choice([0] * 9 + [1, time.monotonic_ns() + 10**6])
            if self.spec.rows and pick.random() < 0.7:
                rows = pick.choice([1, 1, 1, 2])
                descriptor[POSITION_WORD], descriptor[ROWS_WORD] = row, rows
                row += rows
            else:
                self.write_message(descriptor, pick)
            if pick.random() < 0.01:
                descriptor[ROWS_WORD] |= pick.choice([2, 3, 4]) << FLAGS_SHIFT
        words[SUBMITTED] = submitted + count
        self.ring()

    def write_message(self, descriptor: memoryview, pick: random.Random) -> None:
        count = pick.choice([0, 1, 3, 20])
        texts = [pick.randbytes(pick.choice([0, 5, 40])) for _ in range(count)]
        data = packed.pack_strings(texts) if self.dtype == 7 else np.arange(count, dtype="<f4").tobytes()
        shape = pick.choice([(count,)] * 9 + [(pick.choice(STRANGE[:-3]), 0)])
        tensors = [PackedTensor(pick.choice([self.dtype] * 20 + [1, 7, 20, 9]), shape, data)] * pick.choice([1] * 20 + [2])
        start = pick.randrange(0, 1 << 12, 64)
        packed.write(self.lane.requests[start:], tensors)
        descriptor[POSITION_WORD], descriptor[LENGTH_WORD] = start, packed.size(tensors)
        descriptor[ROWS_WORD] = 1 << FLAGS_SHIFT | pick.choice(STRANGE[:-5])

    def change_descriptor(self) -> None:
        """Of a slot that may be read right now; positions and rows seldom, since a lane's rows outside it are its end."""
        pick = self.random
        word = pick.choice([0, 1, 2, LENGTH_WORD, 6, 7] * 40 + [POSITION_WORD, ROWS_WORD])
        slot = pick.randrange(self.spec.slots)
        self.lane.descriptor_words[slot * DESCRIPTOR_WORDS + word] = self.strange()

    def strange(self) -> int:
        return self.random.choice([*STRANGE, self.random.getrandbits(64)])

    def change_bytes(self) -> None:
        at = self.random.randrange(0, 1 << 12, 4)
        for _ in range(20):
            self.lane.requests[at : at + 8] = struct.pack("<Q", self.strange())
            at = at // 64 * 64 + self.random.choice([0, 8, 16, 20, 24, 32, 40, 64, 72])

    def change_rows(self) -> None:
        for column in self.lane.inputs:
            column[self.random.randrange(self.spec.rows)] = self.random.choice([0.0, 7.0, np.inf, np.nan])

    def change_cursor(self) -> None:
        self.lane.words[self.random.choice([SUBMITTED, RELEASED, COMPLETED])] = self.strange()

    def ring(self) -> None:
        try:
            self.bell.send(bytes(self.random.choice([1, 1, 1, 5000])))
            if self.random.random() < 0.5:
                self.bell.recv(4096)
        except BlockingIOError:
            pass


def main(kind: str, fd: str, bell: str, seed: str) -> None:
    hostile = Hostile(kind, int(fd), int(bell), int(seed))
    give_up = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < give_up:
        try:
            for _ in range(100):
                hostile.go_on()
        except (BrokenPipeError, ConnectionResetError):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.exit()

from local_client import Client, LocalRig  # noqa: E402
from loop_thread import running, until  # noqa: E402
from small_version import LIMIT  # noqa: E402
from tf_runs import Load, loads, make_engine, texts_of  # noqa: E402

from ringserve.servable import ServableId  # noqa: E402
from shm.counters import CounterTable  # noqa: E402
from workers.engine import Form  # noqa: E402
from workers.local_meter import LocalMeter  # noqa: E402

#: What can't be is to be met, and much that can.
CODES = {"OK", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "CANCELLED"}


@pytest.fixture(scope="module")
def load(models: Path) -> Iterator[Load]:
    yield from loads(make_engine(), models)


@contextmanager
def hostile_process(kind: str, client: Client, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    fds = (client.lane.segment.fd, client.bell_fd)
    command = [sys.executable, __file__, kind, *map(str, fds), str(seed)]
    process = subprocess.Popen(command, pass_fds=fds, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        _, said = process.communicate(timeout=LIMIT)
        assert not said, said.decode()


class Watched(LocalRig):
    """A client whose lane is opened anew whenever the worker has closed it."""

    def __init__(self, load: Load, kind: str, counts: LocalMeter) -> None:
        version = load("half_plus_two" if kind == "rows" else "text")
        form = Form(((1, FLOATS),), ((1, FLOATS),)) if kind == "rows" else None
        super().__init__(version, form=form, spec=SPECS[kind], counts=counts, keep_bell=True)
        self.closed = 0
        self.served = 0

    def reopen(self) -> None:
        """In the loop's thread."""
        lane = self.client.lane_now
        if lane.dropped:
            self.closed += 1
            self.served += lane.consumer.completed
            for cursor in (SUBMITTED, RELEASED, COMPLETED):
                self.client.lane.words[cursor] = 0
            self.loop.put(self.client.opened(self.version, lane.meter), self.queue)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("seed", [1, 2])
def test_others_get_right_answers(kind: str, seed: int, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    table = CounterTable.create(1 << 16)
    rig = Watched(load, kind, LocalMeter(table, ServableId("m", 1), "s"))
    ask: Callable[[Watched, int], None] = ask_rows if kind == "rows" else ask_text
    with rig, running(rig.loop), hostile_process(kind, rig.client, seed) as process:
        until(lambda: rig.client.lane_now.consumer.completed > 0)
        began = time.monotonic()
        asked = 0
        while time.monotonic() < began + SECONDS or not (rig.closed and rig.served > 1000 and codes(table) >= CODES):
            for _ in range(20):
                ask(rig, asked)
                asked += 1
            rig.loop.post(rig.reopen)
            assert process.poll() is None
            assert time.monotonic() < began + LIMIT, (rig.closed, rig.served, codes(table))
    assert len(rig.client.lane_now.consumer._answers_held) <= SPECS[kind].slots
    assert "never should" not in caplog.text
    assert {record.levelno for record in caplog.records} <= {logging.ERROR}
    table.close()


def codes(table: CounterTable) -> set[str]:
    return {labels[-1] for family, labels, _ in table.read() if family == "requests"}


def ask_rows(rig: Watched, number: int) -> None:
    values = [float(number), float(number + 1)]
    rig.front.submit(*values)
    wait(rig)
    (answer,) = rig.front.answers()
    assert answer.values == tuple(0.5 * value + 2 for value in values)


def ask_text(rig: Watched, number: int) -> None:
    text = b"text %d" % number
    tensor = PackedTensor(7, (1,), packed.pack_strings([text]))
    rig.front.producer.submit_packed(number, 1, [tensor], 0)
    wait(rig)
    producer = rig.front.producer
    assert producer.verdict(producer.submitted - 1)[0] == 0
    tensors = producer.answer_packed(producer.submitted - 1)
    assert texts_of(tensors[1]) == [text.upper()]
    producer.release(producer.submitted)


def wait(rig: Watched) -> None:
    rig.loop.doorbell.ring()
    producer = rig.front.producer
    give_up = time.monotonic() + LIMIT
    while producer.completed < producer.submitted:
        rig.front.bell.wait(1.0)
        assert time.monotonic() < give_up
