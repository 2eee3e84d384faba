"""Front ends, real lanes between them and a worker's queue, all in one process; a worker that dies and comes again."""

from __future__ import annotations

import os
import queue as queues
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from small_version import LIMIT, SmallVersion

from ringserve.errors import Code
from ringserve.signature import DEFAULT_SIGNATURE
from shm.consumer import LaneConsumer
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer
from workers.batch_counters import BatchMeter
from workers.batch_seats import BatchSeats
from workers.cost_model import CostModel
from workers.engine import Form, LoadedVersion
from workers.limits import Limits
from workers.probe import Report
from workers.queue import Queue
from workers.queued_lane import QueuedLane
from workers.runner import Runner

NOW = 1_000_000  # of the clock that deadlines are measured by
LONG = 0.1  # seconds a run, as the probe found: in the pool, and a rig learns nothing better
FLOATS = (1, Column("<f4", ()))
FORM = Form((FLOATS,), (FLOATS,))
SPEC = LaneSpec((FLOATS[1],), (FLOATS[1],), rows=256, slots=64, request_bytes=1 << 14, answer_bytes=1 << 14)


@dataclass(frozen=True)
class Answer:
    code: Code
    values: tuple[float, ...] = ()
    text: str = ""
    packed: bool = False


def good(*values: float, packed: bool = False) -> Answer:
    return Answer(Code.OK, values, packed=packed)


class Record(NamedTuple):
    """Of a batch, as the lane has it."""

    end: int
    begun: int
    ended: int
    rows: int


class Front:
    """A front end with one lane."""

    def __init__(self, spec: LaneSpec) -> None:
        self.lane = Lane.create(spec, {})
        self.producer = LaneProducer(self.lane)
        self.bell = Doorbell.create()

    def submit(self, *values: float, deadline: int = 0, now: int = NOW, flags: int = 0) -> int:
        """One request of these rows."""
        number = self.producer.submit_rows(0, len(values), [np.array(values, dtype="<f4")], now, deadline, flags)
        assert number != FULL
        return number

    def submit_packed(self, *values: float, deadline: int = 0, now: int = NOW, flags: int = 0) -> int:
        tensor = PackedTensor(1, (len(values),), np.array(values, dtype="<f4").tobytes())
        number = self.producer.submit_packed(0, len(values), [tensor], now, deadline, flags)
        assert number != FULL
        return number

    def answer(self, number: int) -> Answer:
        """Of a request that must have one."""
        producer = self.producer
        assert producer.released <= number < producer.completed
        status, is_packed = producer.verdict(number)
        packed = bool(is_packed)
        if status:
            text = bytes(producer.answer_packed(number)[0].data).decode() if packed else ""
            return Answer(Code(status), text=text, packed=packed)
        if packed:
            (tensor,) = producer.answer_packed(number)
            return Answer(Code.OK, tuple(np.frombuffer(tensor.data, dtype="<f4").tolist()), packed=True)
        return Answer(Code.OK, tuple((producer.answer_rows(number) or [])[0].tolist()))

    def answers(self) -> list[Answer]:
        """Of all requests, which must all have one, since the last call; they are released."""
        producer = self.producer
        assert producer.completed == producer.submitted
        found = [self.answer(number) for number in range(producer.released, producer.submitted)]
        producer.release(producer.submitted)
        return found

    def batches(self) -> list[Record]:
        """Of all requests that have an answer and are not released, which end where a batch does."""
        producer = self.producer
        number, found = producer.released, []
        while number < producer.completed:
            found.append(Record(*producer.batch(number)))
            assert number < found[-1].end <= producer.completed
            number = found[-1].end
        return found

    def close(self) -> None:
        self.bell.close()
        if self.lane.segment.fd >= 0:
            self.lane.close()


class Constant(CostModel):
    """However long runs take."""

    __slots__ = ()

    def learn(self, rows: int, seconds: float) -> None:
        pass


class Rig:
    """A queue of lanes, as a worker has it; `with` closes all."""

    def __init__(
        self,
        version: LoadedVersion,
        fronts: int = 1,
        *,
        form: Form | None = FORM,
        spec: LaneSpec = SPEC,
        batched: bool = True,
        most_rows: int = 32,
        seconds: float = 1e-5,
        most_in_flight: int = 2,
        signature: str = DEFAULT_SIGNATURE,
        meter: BatchMeter | None = None,
        limits: Limits | None = None,
        seats: BatchSeats | None = None,
    ) -> None:
        """`limits`: None: a number of rows only, `most_rows`."""
        self.version = version
        self.report = Report(form, batched, "", True, seconds, most_rows)
        self.fronts = [Front(spec) for _ in range(fronts)]
        self._signature = signature
        self._spec = spec
        self._meter = meter
        self._limits = limits
        self._seats = seats
        self._most_in_flight = most_in_flight
        self._pool = ThreadPoolExecutor(8)
        self.posted: queues.SimpleQueue[Callable[[], None]] = queues.SimpleQueue()
        self.queue: Queue
        self.start_worker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(self.version, SmallVersion):
            for gate in self.version.gates.values():
                gate.set()
        self._pool.shutdown()
        for lane in self.queue.lanes:
            lane.drop()
        for front in self.fronts:
            front.close()

    def start_worker(self, lanes: Sequence[int] | None = None) -> None:
        """A new worker, which goes on where the one before stopped; with these lanes, all of them if not said."""
        if hasattr(self, "queue"):
            for lane in self.queue.lanes:
                lane.drop()
        runner = Runner(self.version, self._signature, self.report)
        self.queue = Queue(
            self._signature,
            self.report,
            runner,
            self._pool,
            self._most_in_flight,
            self.posted.put,
            self._meter,
            self._limits,
            self._seats,
        )
        if self.report.seconds >= LONG:
            self.queue.economy.cost = Constant(self.report.seconds, self.report.each)
        for number in range(len(self.fronts)) if lanes is None else lanes:
            self.add_lane(number)

    def add_lane(self, number: int) -> QueuedLane:
        front = self.fronts[number]
        mapped = Lane.attach(os.dup(front.lane.segment.fd), self._spec)
        lane = QueuedLane.make(number, LaneConsumer(mapped), Doorbell(os.dup(front.bell.fd)))
        self.queue.add(lane)
        return lane

    @property
    def front(self) -> Front:
        return self.fronts[0]

    def turn(self, now: int = NOW) -> bool:
        return self.queue.turn(now)

    def turns(self, now: int = NOW) -> int:
        """Turns until there is nothing more to begin; says how many."""
        count = 0
        while self.turn(now):
            count += 1
        return count

    def post(self) -> None:
        """What the loop does with one end of a batch in the pool."""
        self.posted.get(timeout=LIMIT)()

    @property
    def answered(self) -> bool:
        return all(front.producer.completed == front.producer.submitted for front in self.fronts)

    def work(self, now: int = NOW) -> None:
        """Until every request of every front end is answered."""
        while not self.answered:
            if not self.turns(now) and not self.answered:
                self.post()
