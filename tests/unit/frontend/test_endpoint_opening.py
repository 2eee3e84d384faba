"""The base lane of an endpoint is made when the first request comes; all that come meanwhile wait for it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from made_signatures import signature, spec
from worker_side import lane_pair, on_loop

from frontend.endpoint import Endpoint
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

REFUSED = ServingError(Code.RESOURCE_EXHAUSTED, "no memory")
WANTED = {"type": "want_lane", "servable": ("m", 1), "signature": "serving_default", "inputs": None}


def closed() -> tuple[Endpoint, list[Message]]:
    asked: list[Message] = []
    return Endpoint(ServableId("m", 1), signature(spec("x")), asked.append), asked


async def waiters(endpoint: Endpoint, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(endpoint.open()) for _ in range(count)]
    await asyncio.sleep(0)  # they run up to where they wait
    assert not any(task.done() for task in tasks)
    return tasks


@on_loop
async def test_one_question_for_all() -> None:
    endpoint, asked = closed()
    tasks = await waiters(endpoint, 3)
    assert asked == [WANTED]
    endpoint.add(lane_pair()[0], None, None)
    await asyncio.gather(*tasks)
    await endpoint.open()
    assert len(asked) == 1


@on_loop
async def test_a_second_base_lane() -> None:
    """One for each worker: the first lets requests go, the others come when they come."""
    endpoint, _ = closed()
    tasks = await waiters(endpoint, 1)
    (one, _), (two, _) = lane_pair("gpu:0"), lane_pair("gpu:1")
    endpoint.add(one, None, None)
    endpoint.add(two, None, None)
    await asyncio.gather(*tasks)
    assert endpoint.base == endpoint.lanes == [one, two]


@on_loop
async def test_other_lanes_let_nobody_go() -> None:
    endpoint, _ = closed()
    tasks = await waiters(endpoint, 1)
    endpoint.add(lane_pair()[0], [[1, "<f4", [2]]], ((1, (2,)),))
    await asyncio.sleep(0)
    assert not tasks[0].done()
    endpoint.add(lane_pair()[0], None, None)
    await asyncio.gather(*tasks)


@on_loop
async def test_refused() -> None:
    endpoint, asked = closed()
    tasks = await waiters(endpoint, 2)
    endpoint.refuse(REFUSED)
    for task in tasks:
        with pytest.raises(ServingError) as caught:
            await task
        assert caught.value.message == "no memory"
    again = await waiters(endpoint, 1)
    assert asked == [WANTED, WANTED], "the next request asks again"
    endpoint.add(lane_pair()[0], None, None)
    await asyncio.gather(*again)
    endpoint.refuse(REFUSED)  # of no consequence any more
    await endpoint.open()


@on_loop
async def test_one_that_goes_away_takes_nobody_with_it() -> None:
    endpoint, asked = closed()
    gone, stays = await waiters(endpoint, 2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    endpoint.add(lane_pair()[0], None, None)
    await stays
    assert len(asked) == 1


@on_loop
async def test_refused_when_all_have_gone() -> None:
    endpoint, asked = closed()
    for task in await waiters(endpoint, 2):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    endpoint.refuse(REFUSED)
    await waiters(endpoint, 1)
    assert len(asked) == 2


@on_loop
async def test_prepared_without_anybody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10**12
    monkeypatch.setattr("frontend.endpoint.time.monotonic_ns", lambda: now)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    endpoint, asked = closed()
    for _ in range(3):
        endpoint.prepare()
    assert asked == [WANTED]
    endpoint.refuse(REFUSED)
    for _ in range(3):
        endpoint.prepare()
    gc.collect()
    assert len(asked) == 1 and not complaints
    now += 1_000_000_000
    endpoint.prepare()
    assert asked == [WANTED, WANTED]
    (task,) = await waiters(endpoint, 1)
    assert len(asked) == 2, "a request waits for what is being made"
    endpoint.add(lane_pair()[0], None, None)
    await task
    endpoint.prepare()
    assert len(asked) == 2
