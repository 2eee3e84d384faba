"""Requests that are made in the lane's own memory."""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane_server import LIMIT, LaneServer, until
from shm_calls import HALF, half, predict, served

from ringserve.client.array_slot import ArraySlot
from ringserve.client.shm.slot import ShmSlot
from ringserve.client.shm.transport import ShmTransport
from ringserve.errors import Code, ServingError

Stage = tuple[LaneServer, ShmTransport]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with served(tmp_path) as both:
        yield both


def test_written_and_read_in_place(stage: Stage) -> None:
    server, transport = stage
    with transport.slot(HALF, "", 3, LIMIT) as slot:
        assert isinstance(slot, ShmSlot)
        assert slot.outputs == {}
        assert slot.inputs["x"].tolist() == [[0], [0], [0]]
        for turn in range(20):
            slot.inputs["x"][:] = [[turn], [2], [3]]
            slot.run()
            assert slot.outputs["y"].tolist() == half([[turn], [2], [3]])
        assert np.shares_memory(slot.outputs["y"], slot._lane._producer._outputs[0])
    assert server.lanes[1].forms == ["rows"] * 20
    slot.close()
    with pytest.raises(ServingError, match="FAILED_PRECONDITION: The slot is closed"):
        slot.run()
    assert (slot.inputs, slot.outputs) == ({}, {})


def test_a_slot_begins_with_zeros(stage: Stage) -> None:
    _, transport = stage
    with transport.slot(HALF, "", 2, LIMIT) as slot:
        slot.inputs["x"][:] = 7
    with transport.slot(HALF, "", 2, LIMIT) as slot:
        assert not slot.inputs["x"].any()


def test_slots_share_lanes_and_no_rows(stage: Stage) -> None:
    server, transport = stage
    slots = [transport.slot(HALF, "", 4, LIMIT) for _ in range(50)]
    for index, slot in enumerate(slots):
        slot.inputs["x"][:] = index
    for slot in reversed(slots):
        slot.run()
    for index, slot in enumerate(slots):
        assert slot.outputs["y"].tolist() == half([[index]] * 4)
        slot.close()
    assert len(server.lanes) == 2


def test_a_slot_that_is_kept_holds_up_nobody(stage: Stage) -> None:
    """Its rows are in the way of others of its lane: then there is another lane."""
    server, transport = stage
    with transport.slot(HALF, "", 1, LIMIT) as kept:
        kept.inputs["x"][:] = 4
        for turn in range(30):
            with transport.slot(HALF, "", 500, LIMIT) as slot:
                slot.inputs["x"][:] = turn
                slot.run()
                assert slot.outputs["y"].tolist() == half([[turn]] * 500)
            assert transport.call(predict([[turn]]), LIMIT)["y"].tolist() == half([[turn]])
        kept.run()
        assert kept.outputs["y"].tolist() == [[4.0]]
    assert 2 <= len(server.lanes) <= 4


def test_no_room_for_another_slot(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for it."""
    _, transport = stage
    monkeypatch.setattr("ringserve.client.shm.route._MOST_SLOT_LANES", 1)
    slots = [transport.slot(HALF, "", 4096, LIMIT) for _ in range(2)]
    with pytest.raises(ServingError, match="is full") as caught:
        transport.slot(HALF, "", 1, 0.02)
    assert caught.value.code is Code.UNAVAILABLE
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(transport.slot, HALF, "", 1, LIMIT)
        for slot in slots:
            slot.close()
        waits.result(LIMIT).close()


def test_many_threads_with_a_slot_each(stage: Stage) -> None:
    _, transport = stage

    def work(seed: int) -> None:
        for turn in range(20):
            with transport.slot(HALF, "", 1 + seed, LIMIT) as slot:
                for more in range(5):
                    slot.inputs["x"][:] = seed * 1000 + turn * 10 + more
                    slot.run()
                    assert slot.outputs["y"].tolist() == half([[seed * 1000 + turn * 10 + more]] * (1 + seed))

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, seed) for seed in range(6)]:
            done.result(LIMIT * 2)


def test_time_that_is_over_and_the_next_run(stage: Stage) -> None:
    """Which waits for the one before, whose answer would be written over its own."""
    server, transport = stage
    with transport.slot(HALF, "", 1, LIMIT) as slot:
        slot.run()
        server.running.clear()
        for _ in range(2):
            with pytest.raises(ServingError, match=r"DEADLINE_EXCEEDED: No answer within 0\.02 s"):
                slot.run(0.02)
            assert slot.outputs == {}
        threading.Timer(0.05, server.running.set).start()
        slot.inputs["x"][:] = 8
        slot.run()
        assert slot.outputs["y"].tolist() == [[6.0]]
    assert server.lanes[1].requests == 3


def test_rows_of_a_request_that_still_runs_are_nobody_else_s(stage: Stage) -> None:
    server, transport = stage
    slot = transport.slot(HALF, "", 4096, LIMIT)
    slot.run()
    server.running.clear()
    with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
        slot.run(0.02)
    slot.close()
    with transport.slot(HALF, "", 4096, LIMIT) as other, transport.slot(HALF, "", 4096, LIMIT) as third:
        assert isinstance(other, ShmSlot) and isinstance(third, ShmSlot)
        assert third._lane is not other._lane
        server.running.set()
        third.run()


@pytest.mark.parametrize("how", ["retire", "worker", "server"])
def test_a_slot_outlives_its_lane(stage: Stage, how: str) -> None:
    """Its requests go another way."""
    server, transport = stage
    with transport.slot(HALF, "", 2, LIMIT) as slot:
        slot.inputs["x"][:] = 5
        slot.run()
        assert isinstance(slot, ShmSlot)
        if how == "retire":
            server.tell({"type": "retire", "lane": 2})
        elif how == "worker":
            server.lanes[1].end()
        else:
            server.drop_connections()
        until(lambda: not slot._lane.usable)
        slot.inputs["x"][1] = 6
        slot.run()
        assert slot.outputs["y"].tolist() == half([[5], [6]])


def test_the_worker_ends_in_the_middle(stage: Stage) -> None:
    server, transport = stage
    with transport.slot(HALF, "", 2, LIMIT) as slot:
        slot.run()
        server.running.clear()
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(slot.run, LIMIT)
            until(lambda: server.lanes[1].consumer.waiting == 1)
            server.lanes[1].end()
            with pytest.raises(ServingError, match="UNAVAILABLE: The worker ended"):
                waits.result(LIMIT)
        server.running.set()
        slot.run()
        assert slot.outputs["y"].tolist() == [[2.0], [2.0]]


def test_an_error_of_the_worker_s(stage: Stage) -> None:
    server, transport = stage
    with transport.slot(HALF, "", 2, LIMIT) as slot:
        server.fault = lambda lane, number: (Code.INTERNAL, "it failed")
        with pytest.raises(ServingError, match="INTERNAL: it failed"):
            slot.run()
        assert slot.outputs == {}
        server.fault = None
        slot.run()
        assert slot.outputs["y"].tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize("rows", [1, 5000])
def test_rows_that_no_lane_has(stage: Stage, rows: int) -> None:
    """Arrays of the client's own are as good, if not as quick."""
    server, transport = stage
    server.columns = rows > 1
    with transport.slot(HALF, "", rows, LIMIT) as slot:
        assert isinstance(slot, ArraySlot)
        slot.inputs["x"][:] = 3
        slot.run()
        assert slot.outputs["y"].tolist() == half([[3]] * rows)


@pytest.mark.parametrize("rows", [0, -1])
def test_no_rows(stage: Stage, rows: int) -> None:
    _, transport = stage
    with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
        transport.slot(HALF, "", rows, LIMIT)


def test_a_slot_that_is_forgotten(stage: Stage) -> None:
    _, transport = stage
    slot: Any = transport.slot(HALF, "", 1, LIMIT)
    lane = slot._lane
    assert lane.has_reservations
    del slot
    gc.collect()
    assert not lane.has_reservations


def test_a_slot_is_dropped_while_its_lane_is_locked(stage: Stage) -> None:
    """As the garbage collector may do, in any thread."""
    _, transport = stage
    slot: Any = transport.slot(HALF, "", 1, LIMIT)
    kept = [slot]
    lane = slot._lane
    del slot

    def drop() -> None:
        with lane._lock:
            kept.clear()

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive()
    with transport.slot(HALF, "", lane.terms.most_rows, LIMIT) as all_rows:
        all_rows.run()
    assert not lane._dropped


@pytest.mark.parametrize("rows", [2, 1 << 15])
def test_how_long_a_run_may_take(stage: Stage, rows: int) -> None:
    """Of slots in a lane, and of those too large for one."""
    _, transport = stage
    with transport.slot(HALF, "", rows, LIMIT) as slot:
        assert isinstance(slot, ShmSlot) == (rows == 2)
        slot.run(math.inf)
        assert slot.outputs["y"].shape == (rows, 1)
        for timeout in (-1.0, math.nan):
            with pytest.raises(ValueError, match="a number of seconds"):
                slot.run(timeout)
        with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
            slot.run(0)
