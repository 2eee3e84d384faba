"""A worker's loop that hears local clients' bells beside its doorbell."""

from __future__ import annotations

import socket
import threading
import time

from local_client import Client, LocalRig
from loop_thread import new_loop, running, until
from queue_rig import Rig, good
from small_version import LIMIT, SmallVersion

from shm.layout import SUBMITTED
from workers.local_lane import LocalLane
from workers.loop import Loop

loop = new_loop


def test_a_clients_ring_wakes_the_loop() -> None:
    with LocalRig(SmallVersion()) as rig, running(rig.loop):
        for row in range(20):
            rig.client.submit(float(row))
            rig.client.ring()
            assert rig.client.hears(LIMIT)
            until(lambda: rig.client.producer.completed == rig.client.producer.submitted)
            assert rig.client.answers() == [good(2.0 * row + 1)]


def test_a_ring_before_the_lane_is_there(loop: Loop) -> None:
    version = SmallVersion()
    with Rig(version) as rig, running(loop):
        client = Client()
        joined: list[LocalLane] = []
        rig.fronts.append(client)
        client.submit(1.0)
        client.ring()
        loop.post(lambda: loop.add(rig.queue))
        loop.post(lambda: joined.append(client.join(loop, rig.queue, version)))
        until(lambda: client.producer.completed == 1)
        assert client.answers() == [good(3.0)]


def test_the_doorbell_is_heard_beside_the_bells() -> None:
    with LocalRig(SmallVersion()) as rig, running(rig.loop):
        for row in range(20):
            rig.front.submit(float(row))
            rig.loop.doorbell.ring()
            until(lambda: rig.front.producer.completed == rig.front.producer.submitted)
            assert rig.front.answers() == [good(2.0 * row + 1)]


def test_a_client_that_never_rings_waits_for_others() -> None:
    with LocalRig(SmallVersion()) as rig, running(rig.loop):
        rig.client.submit(1.0)
        rig.front.submit(2.0)
        rig.loop.doorbell.ring()
        until(lambda: rig.front.producer.completed == 1)
        until(lambda: rig.client.producer.completed == 1)


def test_a_client_that_is_gone_is_let_go() -> None:
    with LocalRig(SmallVersion()) as rig, running(rig.loop):
        rig.client.submit(1.0)
        rig.client.hang_up()
        until(lambda: rig.local.dropped)
        rig.front.submit(2.0)
        rig.loop.doorbell.ring()
        until(lambda: rig.front.producer.completed == 1)
        assert [lane.is_local for lane in rig.queue.lanes] == [False]


def test_a_client_that_goes_while_its_batch_runs() -> None:
    version = SmallVersion()
    gate = version.gates[1.0] = threading.Event()
    with LocalRig(version) as rig, running(rig.loop):
        rig.client.submit(1.0)
        rig.client.ring()
        until(lambda: bool(version.joined))
        rig.client.hang_up()
        gate.set()
        until(lambda: rig.local.dropped)
        assert rig.client.producer.completed == 1


def test_a_loop_that_never_sleeps_hears_of_clients_that_are_gone() -> None:
    with LocalRig(SmallVersion()) as rig:
        rig.client.hang_up()
        rig.loop.turn()
        assert not rig.local.dropped
        rig.loop.post(rig.loop.beat)
        rig.loop.turn()
        assert rig.local.dropped


def test_a_client_that_rings_without_end(loop: Loop) -> None:
    """And one that never takes a ring off: others are answered meanwhile."""
    with LocalRig(SmallVersion()) as rig, running(rig.loop):
        flood = socket.socket(fileno=rig.client._bell._socket.detach())
        flood.setblocking(False)
        done = threading.Event()

        def ring() -> None:
            while not done.is_set():
                try:
                    flood.send(bytes(1 << 16))
                except BlockingIOError:
                    time.sleep(0)

        ringer = threading.Thread(target=ring)
        ringer.start()
        try:
            for row in range(100):
                rig.front.submit(float(row))
                rig.loop.doorbell.ring()
                until(lambda: rig.front.producer.completed == rig.front.producer.submitted)
                assert rig.front.answers() == [good(2.0 * row + 1)]
        finally:
            done.set()
            ringer.join(LIMIT)
            flood.close()
        until(lambda: rig.local.dropped)


def test_a_client_that_never_takes_rings_off() -> None:
    with LocalRig(SmallVersion()) as rig:
        for row in range(2000):
            rig.client.submit(float(row))
            rig.turns()
            rig.client.producer.release(rig.client.producer.submitted)
        assert rig.client.producer.completed == 2000


def test_a_cursor_that_jumps_to_and_fro_ends_nothing_but_its_lane() -> None:
    with LocalRig(SmallVersion()) as rig, running(rig.loop):
        words = rig.client.lane.words
        give_up = time.monotonic() + LIMIT
        row = 0
        while not rig.local.dropped:
            row += 1
            words[SUBMITTED] = row % 3
            rig.client.ring()
            rig.front.submit(float(row))
            rig.loop.doorbell.ring()
            until(lambda: rig.front.producer.completed == rig.front.producer.submitted)
            assert rig.front.answers() == [good(2.0 * row + 1)]
            assert time.monotonic() < give_up


def test_when_the_last_client_is_gone_the_loop_sleeps_as_before() -> None:
    with LocalRig(SmallVersion()) as rig, running(rig.loop):
        rig.client.hang_up()
        until(lambda: rig.local.dropped)
        for _ in range(5):
            rig.front.submit(1.0)
            rig.loop.doorbell.ring()
            until(lambda: rig.front.producer.completed == rig.front.producer.submitted)
            assert rig.front.answers() == [good(3.0)]


def test_a_version_that_goes_takes_its_clients_lanes_with_it() -> None:
    with LocalRig(SmallVersion()) as rig:
        done: list[bool] = []
        rig.loop.remove(rig.queue)
        rig.queue.when_idle(lambda: done.append(True))
        assert done == [True]
        assert rig.local.dropped
        assert rig.client.is_gone
