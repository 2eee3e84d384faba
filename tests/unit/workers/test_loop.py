"""The worker's loop: commands, sleep and wake-up, heartbeats, and lanes whose front end has broken them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from queue_rig import SPEC, Front, Rig, good
from small_version import LIMIT, SmallVersion
from test_queue_pool import LONG, gated

from ringserve.errors import Code
from shm.doorbell import Doorbell
from shm.layout import SUBMITTED, WORKER_HEARTBEAT
from workers.loop import Loop

Harm = Callable[[Front], None]


@pytest.fixture
def loop() -> Iterator[Loop]:
    bell = Doorbell.create()
    yield Loop(bell)
    bell.close()


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """The loop in a thread of its own, stopped by a command in the end."""
    thread = threading.Thread(target=loop.run)
    thread.start()

    def stop() -> None:
        loop.stopping = True

    try:
        yield
    finally:
        loop.post(stop)
        thread.join(LIMIT)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


# What a front end can do to a lane. The worker shall close that lane, and no more.


def submitted_too_far(front: Front) -> None:
    front.lane.words[SUBMITTED] = front.lane.words[SUBMITTED] + SPEC.slots + 1


def submitted_backwards(front: Front) -> None:
    front.submit(1.0)
    front.lane.words[SUBMITTED] = 0


def submitted_beyond_all_numbers(front: Front) -> None:
    front.lane.words[SUBMITTED] = 2**64 - 1


def scribbled(count: int, **words: int) -> Harm:
    """This many requests with these words in each."""

    def harm(front: Front) -> None:
        for _ in range(count):
            number = front.submit(1.0)
            for name, value in words.items():
                front.lane.descriptors[number % SPEC.slots][name] = value

    return harm


HARMS = [
    submitted_too_far,
    submitted_beyond_all_numbers,
    scribbled(1, position=SPEC.rows),
    scribbled(1, position=2**64 - 1),
    scribbled(3, position=2**64 - 1),
    scribbled(3, position=2**63),
    scribbled(1, rows=0),
    scribbled(1, rows=SPEC.rows + 1),
    scribbled(3, rows=2**32 - 1),
    scribbled(2, position=SPEC.rows - 1, rows=2),
    scribbled(40, position=2**64 - 1),
    scribbled(40, position=2**63),
    scribbled(40, rows=2**32 - 1),
    scribbled(40, rows=0),
]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("harm", HARMS)
def test_only_the_broken_lane_is_closed(loop: Loop, harm: Harm, order: int, caplog: pytest.LogCaptureFixture) -> None:
    """In one ring both lanes have something: the good one's answer must come without another."""
    version = SmallVersion()
    with Rig(version, fronts=2, most_rows=SPEC.rows) as rig:
        loop.queues.append(rig.queue)
        good_one, bad_one = rig.fronts if order else rig.fronts[::-1]
        broken = next(lane for lane in rig.queue.lanes if lane.number == rig.fronts.index(bad_one))
        good_one.submit(1.0)
        good_one.submit(2.0)
        harm(bad_one)
        with running(loop):
            loop.doorbell.ring()
            assert good_one.bell.wait(LIMIT)
            until(lambda: good_one.producer.completed == 2)
            assert good_one.answers() == [good(3.0), good(5.0)]
            good_one.submit(3.0)
            loop.doorbell.ring()
            until(lambda: good_one.producer.completed == 3)
            assert good_one.answers() == [good(7.0)]
        assert [lane.number for lane in rig.queue.lanes] == [rig.fronts.index(good_one)]
        assert bad_one.producer.completed == 0
        assert (broken.dropped, broken.doorbell.fd) == (True, -1), "and leaves no descriptor behind"
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "said once"
    assert "its front end broke it" in caplog.text


@pytest.mark.parametrize("harm", [*HARMS, submitted_backwards])
def test_a_lane_broken_later(loop: Loop, harm: Harm) -> None:
    with Rig(SmallVersion(), most_rows=SPEC.rows) as rig:
        loop.queues.append(rig.queue)
        rig.front.submit(1.0)
        while loop.turn():
            pass
        assert rig.front.answers() == [good(3.0)]
        harm(rig.front)
        while loop.turn():
            pass
        assert rig.queue.lanes == []
        assert rig.front.producer.completed == 1
        rig.front.submit(2.0)
        assert not loop.turn()


def test_a_batch_that_runs_in_a_broken_lane_ends_quietly(loop: Loop) -> None:
    version = gated(1.0)
    with Rig(version, seconds=LONG) as rig:
        loop.queues.append(rig.queue)
        rig.front.submit(1.0)
        assert loop.turn()
        submitted_beyond_all_numbers(rig.front)
        while loop.turn():
            pass
        assert rig.queue.lanes == []
        version.gates[1.0].set()
        rig.post()
        assert rig.front.producer.completed == 1


def test_another_queues_lanes_know_nothing_of_it(loop: Loop) -> None:
    with Rig(SmallVersion()) as bad, Rig(SmallVersion()) as unharmed:
        loop.queues += [bad.queue, unharmed.queue]
        submitted_too_far(bad.front)
        unharmed.front.submit(1.0)
        loop.turn()
        assert unharmed.front.answers() == [good(3.0)]
        assert (len(bad.queue.lanes), len(unharmed.queue.lanes)) == (0, 1)


# Lanes with suspects: requests that a worker before had begun when it died.


def turns(loop: Loop) -> int:
    """As the loop does between two rings; says how many had something to do."""
    count = 0
    while loop.turn():
        count += 1
    return count


def dies(rig: Rig, number: int, count: int) -> None:
    """The worker takes so many requests of a lane and ends; the next one has no lanes yet."""
    lane = next(lane for lane in rig.queue.lanes if lane.number == number)
    lane.consumer.take(count)
    rig.start_worker(lanes=[])


def test_of_slow_suspects_one_runs_at_a_time(loop: Loop) -> None:
    """If it kills, it must be the only one that is blamed; so nothing else is begun before the last has ended."""
    version = gated(1.0, 2.0, 3.0, 4.0)
    with Rig(version, seconds=LONG, most_in_flight=4) as rig:
        for row in version.gates:
            rig.front.submit(row)
        dies(rig, 0, 3)
        rig.add_lane(0)
        loop.queues.append(rig.queue)
        loop.recover()
        for count, gate in enumerate(version.gates.values(), start=1):
            turns(loop)
            assert rig.queue.lanes[0].consumer.taken == count
            gate.set()
            rig.post()
        assert rig.front.answers() == [good(2 * row + 1) for row in version.gates]
        assert version.most_at_once == 1


def test_a_suspect_waits_for_what_runs_already(loop: Loop) -> None:
    """Its lane is handed over while batches of another one are in flight."""
    version = gated(1.0, 2.0)
    with Rig(version, fronts=2, seconds=LONG, most_in_flight=4) as rig:
        rig.fronts[1].submit(2.0)
        rig.fronts[1].submit(3.0)
        dies(rig, 1, 1)
        rig.add_lane(0)
        loop.queues.append(rig.queue)
        rig.fronts[0].submit(1.0)
        turns(loop)
        rig.add_lane(1)
        loop.recover()
        turns(loop)
        suspected = rig.queue.lanes[1].consumer
        assert suspected.taken == 0
        version.gates[1.0].set()
        rig.post()
        turns(loop)
        assert suspected.taken == 1
        version.gates[2.0].set()
        rig.post()
        turns(loop)
        rig.post()
        assert rig.fronts[1].answers() == [good(5.0), good(7.0)]
        assert version.most_at_once == 1


def test_other_queues_wait_for_suspects_and_are_not_forgotten(loop: Loop) -> None:
    """What waits there was rung for before: it must run without another ring, also where a suspect is settled unrun."""
    suspicious, version = gated(2.0), SmallVersion()
    with Rig(suspicious, seconds=LONG) as rig, Rig(version) as other:
        tried = rig.front.submit(1.0)
        rig.front.submit(2.0)
        rig.front.lane.descriptors[tried]["attempts"] = 1
        other.front.submit(5.0)
        dies(rig, 0, 2)
        rig.add_lane(0)
        loop.queues += [other.queue, rig.queue]
        loop.recover()
        turns(loop)
        assert (rig.queue.lanes[0].consumer.taken, version.joined) == (2, [])
        suspicious.gates[2.0].set()
        rig.post()
        turns(loop)
        assert [answer.code for answer in rig.front.answers()] == [Code.INTERNAL, Code.OK]
        assert other.front.answers() == [good(11.0)]


def test_only_settled_suspects_hold_up_nobody(loop: Loop) -> None:
    version = SmallVersion()
    with Rig(version) as rig, Rig(version) as other:
        tried = rig.front.submit(1.0)
        rig.front.lane.descriptors[tried]["attempts"] = 1
        other.front.submit(5.0)
        dies(rig, 0, 1)
        rig.add_lane(0)
        loop.queues += [other.queue, rig.queue]
        loop.recover()
        turns(loop)
        assert [answer.code for answer in rig.front.answers()] == [Code.INTERNAL]
        assert other.front.answers() == [good(11.0)]


def test_recovery_without_a_suspect_left_is_over(loop: Loop) -> None:
    """Their lane may have been dropped meanwhile."""
    loop.recover()
    assert not loop.turn()
    with Rig(SmallVersion()) as rig:
        loop.recover()
        loop.queues.append(rig.queue)
        rig.front.submit(1.0)
        turns(loop)
        assert rig.front.answers() == [good(3.0)]


# Commands and turns.


def test_a_command_runs_in_the_loops_thread(loop: Loop) -> None:
    ran: list[int] = []
    with running(loop):
        loop.post(lambda: ran.append(threading.get_ident()))
        until(lambda: bool(ran))
    assert ran[0] != threading.get_ident()


def test_commands_run_in_their_order_between_batches(loop: Loop) -> None:
    with Rig(SmallVersion()) as rig:
        order: list[str] = []
        rig.front.submit(1.0)
        loop.post(lambda: order.append("first"))
        loop.post(lambda: loop.queues.append(rig.queue))
        loop.post(lambda: order.append("last"))
        assert loop.turn()
        assert order == ["first", "last"]
        assert rig.front.answers() == [good(3.0)]


def test_queues_take_turns_a_batch_each(loop: Loop) -> None:
    version = SmallVersion()
    with Rig(version, most_rows=1) as one, Rig(version, most_rows=1) as other:
        loop.queues += [one.queue, other.queue]
        for _ in range(3):
            one.front.submit(1.0)
            other.front.submit(2.0)
        assert [loop.turn() for _ in range(4)] == [True, True, True, False]
        assert version.joined == [[1.0], [2.0]] * 3


def test_one_ring_wakes_for_all_that_waits(loop: Loop) -> None:
    with Rig(SmallVersion(), most_rows=2) as rig:
        loop.queues.append(rig.queue)
        for row in range(9):
            rig.front.submit(float(row))
        with running(loop):
            loop.doorbell.ring()
            until(lambda: rig.front.producer.completed == 9)
        assert rig.front.answers() == [good(2.0 * row + 1) for row in range(9)]


def test_a_beat_shows_in_every_lane(loop: Loop) -> None:
    with Rig(SmallVersion(), fronts=2) as rig:
        loop.queues.append(rig.queue)
        before = time.monotonic_ns()
        loop.post(loop.beat)
        loop.turn()
        for front in rig.fronts:
            assert before <= front.lane.words[WORKER_HEARTBEAT] <= time.monotonic_ns()
