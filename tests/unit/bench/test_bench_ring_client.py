"""The ring topologies' producer: against a consumer in a thread, which may lie, and against a real worker process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.floor_process import eventfd_echo, one_at_a_time
from bench.placement import apart
from bench.ring_client import RingClient, WrongAnswerError
from bench.ring_worker import Joined, joined_worker
from bench.time_limit import time_limit
from shm.consumer import LaneConsumer
from shm.doorbell import Doorbell
from shm.lane import Array, Lane
from shm.layout import Column, LaneSpec
from shm.producer import LaneProducer

FLOAT = Column("<f4", ())
LIMIT = 30.0

#: Answers the requests of a window, which begin at this number.
Answer = Callable[[LaneConsumer, Array, int], None]


def rightly(consumer: LaneConsumer, window: Array, _: int) -> None:
    lane = consumer.lane
    lane.outputs[0][window["position"]] = lane.inputs[0][window["position"]] / 2 + 2


def one_wrong(consumer: LaneConsumer, window: Array, first: int) -> None:
    rightly(consumer, window, first)
    if first <= 100 < first + len(window):
        consumer.lane.outputs[0][window["position"][100 - first]] += 0.5


def one_left_out(consumer: LaneConsumer, window: Array, first: int) -> None:
    """Its row keeps what an earlier request found there: the lane has 64 rows."""
    before = consumer.lane.outputs[0][window["position"]]
    rightly(consumer, window, first)
    if first <= 100 < first + len(window):
        consumer.lane.outputs[0][window["position"][100 - first]] = before[100 - first]


def one_failed(consumer: LaneConsumer, window: Array, first: int) -> None:
    rightly(consumer, window, first)
    if first <= 100 < first + len(window):
        consumer.set_status(100, 13)


@contextmanager
def joined_thread(answer: Answer) -> Iterator[Joined]:
    """A lane whose other side is a thread."""
    spec = LaneSpec((FLOAT,), (FLOAT,), rows=64, slots=48, request_bytes=4096, answer_bytes=4096)
    lane = Lane.create(spec, {})
    consumer = LaneConsumer(lane)
    mine, its = Doorbell.create(), Doorbell.create()
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            its.wait(0.05)
            while consumer.waiting:
                window = consumer.window(consumer.waiting)
                answer(consumer, window, consumer.taken)
                consumer.finish(consumer.take(len(window)))
                mine.ring()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield Joined(LaneProducer(lane), mine, its, 0)
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize("single", [False, True], ids=["bursts", "singles"])
def test_every_request_of_a_stream_is_answered(single: bool) -> None:
    with joined_thread(rightly) as joined, time_limit(LIMIT, "the stream"):
        client = RingClient(joined)
        assert client.stream(0.1, single) > 0
        assert client.stream(0.1, single) > 0
        producer = joined.producer
        assert producer.released == producer.submitted == producer.completed > 48


@pytest.mark.parametrize("single", [False, True], ids=["bursts", "singles"])
@pytest.mark.parametrize("answer", [one_wrong, one_left_out, one_failed])
def test_one_wrong_answer_ends_the_stream(answer: Answer, single: bool) -> None:
    with (
        joined_thread(answer) as joined,
        time_limit(LIMIT, "the stream"),
        pytest.raises(WrongAnswerError, match="request"),
    ):
        RingClient(joined).stream(LIMIT, single)


def test_one_request_at_a_time() -> None:
    with joined_thread(rightly) as joined, time_limit(LIMIT, "the requests"):
        times = RingClient(joined).ping(200)
        assert len(times) == 200
        assert (times > 0).all()
        assert joined.producer.released == 200


@pytest.mark.parametrize("answer", [one_wrong, one_left_out])
def test_one_wrong_answer_ends_the_requests(answer: Answer) -> None:
    with joined_thread(answer) as joined, time_limit(LIMIT, "the requests"), pytest.raises(WrongAnswerError, match="100"):
        RingClient(joined).ping(200)


def test_a_worker_process_is_joined_asked_and_ended(models: Path) -> None:
    with joined_worker(models / "half_plus_two") as joined:
        worker = psutil.Process(joined.pid)
        assert worker.is_running()
        client = RingClient(joined)
        with apart(joined.pid), time_limit(LIMIT, "the worker"):
            assert len(client.ping(20)) == 20
            assert client.stream(0.1, False) > 0
            assert client.stream(0.1, True) > 0
    assert not worker.is_running()


def test_a_worker_is_ended_when_the_measurement_fails(models: Path) -> None:
    pid = 0
    with pytest.raises(KeyboardInterrupt), joined_worker(models / "half_plus_two") as joined:
        pid = joined.pid
        raise KeyboardInterrupt
    assert pid
    assert not psutil.pid_exists(pid)


def test_the_floor_of_single_runs(models: Path) -> None:
    with one_at_a_time(models / "half_plus_two") as measure:
        assert measure(0.05) > 0
        assert measure(0.05) > 0


def test_the_floor_of_wake_ups() -> None:
    with eventfd_echo() as (measure, pid), apart(pid), time_limit(LIMIT, "the echo"):
        times = measure(100)
        assert isinstance(times, np.ndarray)
        assert len(times) == 100
        assert (times > 0).all()
    assert not psutil.pid_exists(pid)
