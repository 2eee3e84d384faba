"""What a front end does with its supervisor's messages, its lanes and its requests."""

from __future__ import annotations

import asyncio
import os

import pytest
from front_end_stage import GONE, M1, refusal, stage, until
from worker_side import on_loop

from frontend.catalog import ModelSpec, VersionStatus
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State


@on_loop
async def test_the_first_request_has_a_lane_made() -> None:
    async with stage() as on:
        await on.serve()
        requests = [on.request(value) for value in (1, 2)]
        await until(lambda: "want_lane" in on.types())
        assert on.types() == ["ready", "want_lane"]
        assert on.told[1]["servable"] == ["m", 1]
        assert on.told[1]["inputs"] is None
        worker = on.lane()
        await until(lambda: worker.consumer.waiting == 2)
        on.answer(worker, 2)
        assert await asyncio.gather(*requests) == [[2.0], [4.0]]
        assert on.front_end.idle


@on_loop
async def test_one_ring_for_the_first_request_and_one_for_all_others_of_a_turn() -> None:
    async with stage() as on:
        _, worker = await on.open()
        requests = [on.request(1) for _ in range(5)]
        await until(lambda: worker.consumer.waiting == 5)
        await asyncio.sleep(0)
        assert os.eventfd_read(on.worker_bell.fd) == 2
        on.answer(worker, 5)
        await asyncio.gather(*requests)
        later = on.request(1)
        await until(lambda: worker.consumer.waiting)
        await asyncio.sleep(0)
        assert os.eventfd_read(on.worker_bell.fd) == 1
        on.answer(worker)
        assert await later == [2.0]


@on_loop
async def test_requests_past_their_deadline() -> None:
    async with stage() as on:
        _, worker = await on.open()
        late, patient = on.request(1, timeout=1), on.request(2, timeout=60 * 10**9)
        assert await refusal(late) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        assert worker.abandoned(0) and not worker.abandoned(1)
        assert not on.front_end.idle
        on.answer(worker, 2)
        assert await patient == [4.0]
        assert on.front_end.idle


@on_loop
async def test_clients_that_go_away() -> None:
    async with stage() as on:
        endpoint, worker = await on.open()
        requests = [on.request(1) for _ in range(3)]
        await until(lambda: worker.consumer.waiting == 3)
        requests[0].cancel()
        requests[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await requests[2]
        on.answer(worker, 3)
        assert await requests[1] == [2.0]
        assert on.front_end.idle
        assert endpoint.base[0].producer.released == 3


@on_loop
async def test_retiring_waits_for_requests_in_flight() -> None:
    async with stage() as on:
        endpoint, worker = await on.open()
        running, other = on.request(1), on.request(2)
        await until(lambda: worker.consumer.waiting == 2)
        on.say("retire", servable=M1, call=7)
        await on.heard()
        assert await refusal(on.request(3)) == (Code.NOT_FOUND, "Servable not found for request: Latest(m)")
        assert await refusal(on.request(3, number=1)) == (Code.NOT_FOUND, GONE)
        on.answer(worker)
        assert await running == [2.0]
        await on.heard()
        assert "answer" not in on.types()
        on.answer(worker)
        assert await other == [4.0]
        await until(lambda: on.told[-1] == {"type": "answer", "call": 7})
        assert on.types().count("answer") == 1
        assert endpoint.base[0].producer.lane.segment.fd == -1
        assert on.front_end.catalog.find(ServableId(*M1)) is None


@on_loop
async def test_retiring_waits_for_nobody_who_has_gone() -> None:
    """The worker may owe an answer, even for ever: nobody is there to read it."""
    async with stage() as on:
        _, worker = await on.open()
        gone, late = on.request(1), on.request(2, timeout=1)
        await until(lambda: worker.consumer.waiting == 2)
        on.say("retire", servable=M1, call=7)
        gone.cancel()
        assert await refusal(late) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        await until(lambda: {"type": "answer", "call": 7} in on.told)
        on.answer(worker, 2)  # into a lane that was let go
        await on.heard()
        assert on.front_end.idle


@on_loop
async def test_a_request_holds_its_version_until_its_answer_is_written() -> None:
    async with stage() as on:
        await on.open()
        with on.front_end.catalog.servable_handle(ModelSpec("m")):
            on.say("retire", servable=M1, call=7)
            await on.heard()
            await on.heard()
            assert "answer" not in on.types()
        await until(lambda: {"type": "answer", "call": 7} in on.told)


@on_loop
async def test_asked_twice_to_retire() -> None:
    async with stage() as on:
        _, worker = await on.open()
        request = on.request(1)
        await until(lambda: worker.consumer.waiting)
        on.say("retire", servable=M1, call=7)
        on.say("retire", servable=M1, call=8)
        await on.heard()
        assert "answer" not in on.types()
        on.answer(worker)
        assert await request == [2.0]
        await until(lambda: on.types().count("answer") == 2)
        assert [message["call"] for message in on.told if message["type"] == "answer"] == [7, 8]


@on_loop
async def test_retiring_what_nobody_uses() -> None:
    async with stage() as on:
        await on.open()
        on.say("retire", servable=M1, call=1)
        await until(lambda: on.told[-1] == {"type": "answer", "call": 1})
        on.say("retire", servable=M1, call=2)
        on.say("retire", servable=["x", 9], call=3)
        await until(lambda: on.told[-1] == {"type": "answer", "call": 3})
        assert on.told[-2] == {"type": "answer", "call": 2}


@on_loop
async def test_retired_while_a_request_waits_for_its_lane() -> None:
    """It holds the version: its lane is made all the same, and it is answered."""
    async with stage() as on:
        await on.serve()
        requests = [on.request(value) for value in (1, 2)]
        await until(lambda: "want_lane" in on.types())
        on.say("retire", servable=M1, call=1)
        await on.heard()
        assert not any(request.done() for request in requests) and "answer" not in on.types()
        requests[0].cancel()
        worker = on.lane()
        await until(lambda: worker.consumer.waiting)
        on.answer(worker)
        assert await requests[1] == [4.0]
        await until(lambda: on.told[-1] == {"type": "answer", "call": 1})


@on_loop
async def test_retired_and_its_lane_refused() -> None:
    async with stage() as on:
        await on.serve()
        request = on.request(1)
        await until(lambda: "want_lane" in on.types())
        on.say("retire", servable=M1, call=1)
        on.say("lane_refused", servable=M1, signature="serving_default", inputs=None, code=14, message="stopping")
        assert await refusal(request) == (Code.UNAVAILABLE, "stopping")
        await until(lambda: on.told[-1] == {"type": "answer", "call": 1})


@on_loop
async def test_a_lane_and_its_retirement_in_one_breath() -> None:
    async with stage() as on:
        await on.serve()
        request = on.request(1)
        await until(lambda: "want_lane" in on.types())
        worker = on.lane()
        on.say("retire", servable=M1, call=1)  # both lie in the socket before the front end reads
        await until(lambda: worker.consumer.waiting)
        await on.heard()
        assert "answer" not in on.types(), "a request is in a lane that was let go"
        on.answer(worker)
        assert await request == [2.0]
        await until(lambda: on.told[-1] == {"type": "answer", "call": 1})


@on_loop
async def test_a_version_that_comes_back() -> None:
    async with stage() as on:
        await on.open()
        on.say("retire", servable=M1, call=1)
        await on.heard()
        _, worker = await on.open()
        request = on.request(1)
        await until(lambda: worker.consumer.waiting)
        on.answer(worker)
        assert await request == [2.0]


@on_loop
async def test_a_lane_that_cannot_be_made() -> None:
    async with stage() as on:
        await on.serve()
        request = on.request(1)
        await until(lambda: "want_lane" in on.types())
        refused: Message = {"servable": M1, "signature": "serving_default", "code": 8, "message": "no memory"}
        on.say("lane_refused", (), inputs=[[1, "<f4", [2]]], **refused)  # another one: nobody waits for that
        on.say("lane_refused", (), inputs=None, **refused)
        assert await refusal(request) == (Code.RESOURCE_EXHAUSTED, "no memory")
        on.say("lane_refused", (), inputs=None, **{**refused, "servable": ["x", 1]})
        again = on.request(3)
        await until(lambda: on.types().count("want_lane") == 2)
        worker = on.lane()
        await until(lambda: worker.consumer.waiting)
        on.answer(worker)
        assert await again == [6.0]


@on_loop
async def test_a_lane_that_comes_too_late_is_closed() -> None:
    async with stage() as on:
        await on.open()
        before = len(os.listdir("/proc/self/fd"))
        on.lane(number=5)
        on.say("open", call=4, prometheus_path=None, ssl=None)
        await on.front_end.opened.wait()
        assert len(os.listdir("/proc/self/fd")) == before


@on_loop
async def test_statuses() -> None:
    async with stage() as on:
        on.say("models", names=["n"])
        await on.heard()
        assert [on.front_end.catalog.is_configured(name) for name in ("m", "n")] == [False, True]
        on.say("status", model="m", version=1, state=30, code=0, message="")
        on.say("status", model="m", version=2, state=20, code=0, message="")
        on.say("status", model="m", version=2, state=50, code=13, message="broken")
        await on.heard()
        catalog = on.front_end.catalog
        available = VersionStatus(1, State.AVAILABLE, Code.OK, "")
        assert catalog.status("m", None) == [VersionStatus(2, State.END, Code.INTERNAL, "broken"), available]
        on.say("forget", model="m", versions=[2, 7])
        on.say("forget", model="x", versions=[1])
        await on.heard()
        assert catalog.status("m", None) == [available]


@on_loop
async def test_routing_replaces_what_was() -> None:
    async with stage() as on:
        for number in (1, 2):
            await on.serve(number)

        def labelled(label: str) -> int:
            with on.front_end.catalog.servable_handle(ModelSpec("m", label=label)) as version:
                return version.id.version

        on.say("routing", model="m", labels={"old": [[1, 1.0]], "new": [[2, 1.0]]}, shadows=[])
        await on.heard()
        assert (labelled("old"), labelled("new")) == (1, 2)
        on.say("routing", model="m", labels={"old": [[2, 1.0]]}, shadows=[])
        await on.heard()
        assert labelled("old") == 2
        with pytest.raises(ServingError):
            labelled("new")


@on_loop
async def test_lanes_of_a_worker_to_avoid() -> None:
    async with stage() as on:
        for number in (1, 2):
            version = await on.serve(number)
            on.lane(number, worker="cpu:0")
            on.lane(number, worker="cpu:1")
            endpoint = version.endpoint("serving_default")
            while len(endpoint.base) < 2:
                await on.heard()

        async def avoided() -> dict[int, list[str]]:
            await on.heard()
            return {
                version.id.version: [
                    lane.worker for endpoint in version.endpoints for lane in endpoint.lanes if lane.avoided
                ]
                for version in on.front_end.catalog.loaded(None)
            }

        on.say("worker", worker="cpu:1", servable=["m", 2], usable=False)
        assert await avoided() == {1: [], 2: ["cpu:1"]}
        on.say("worker", worker="cpu:1", servable=None, usable=False)
        assert await avoided() == {1: ["cpu:1"], 2: ["cpu:1"]}
        await on.serve(3)
        on.lane(3, worker="cpu:1")
        assert await avoided() == {1: ["cpu:1"], 2: ["cpu:1"], 3: ["cpu:1"]}
        on.say("worker", worker="cpu:1", servable=None, usable=True)
        assert await avoided() == {1: [], 2: ["cpu:1"], 3: []}
        on.say("worker", worker="cpu:1", servable=["m", 2], usable=True)
        on.say("worker", worker="cpu:0", servable=["m", 9], usable=False)  # not loaded yet
        assert await avoided() == {1: [], 2: [], 3: []}
        await on.serve(9)
        on.lane(9, worker="cpu:0")
        assert (await avoided())[9] == ["cpu:0"]


@on_loop
async def test_shadows() -> None:
    async with stage() as on:
        (_, worker), (_, shadow) = [await on.open(number) for number in (1, 2)]
        on.say("routing", model="m", labels={}, shadows=[[2, 1.0]])
        await on.heard()
        request = on.request(1, 2, number=1)
        await until(lambda: worker.consumer.waiting and shadow.consumer.waiting)
        on.say("retire", servable=["m", 2], call=5)
        on.answer(worker)
        assert await request == [2.0, 4.0]
        await on.heard()
        assert "answer" not in on.types(), "the copy is under way"
        on.answer(shadow)
        await until(lambda: {"type": "answer", "call": 5} in on.told)
        counts = {"compared": 1, "differed": 0, "failed": 0, "dropped": 0}
        await until(lambda: on.told[-1] == {"type": "shadow_counts", "model": "m", "version": 2, **counts})
        on.say("routing", model="m", labels={}, shadows=[])
        await on.heard()
        assert not on.front_end._shadows.rates
        assert on.front_end.idle


@on_loop
async def test_metrics() -> None:
    async with stage() as on:
        asked = [asyncio.create_task(on.front_end.metrics(page)) for page in ("clean", "upstream")]
        await until(lambda: on.types().count("metrics") == 2)
        calls = [message["call"] for message in on.told if message["type"] == "metrics"]
        assert [message["page"] for message in on.told if message["type"] == "metrics"] == ["clean", "upstream"]
        on.say("told", call=calls[1], text="two 2\n")
        on.say("told", call=calls[0], text="one 1\n")
        on.say("told", call=99, text="nobody asked")
        assert [await answer for answer in asked] == ["one 1\n", "two 2\n"]


@on_loop
async def test_metrics_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.front_end._METRICS_SECONDS", 0.01)
    async with stage() as on:
        asked = asyncio.create_task(on.front_end.metrics("clean"))
        assert (await refusal(asked))[0] is Code.UNAVAILABLE
        (call,) = [message["call"] for message in on.told if message["type"] == "metrics"]
        on.say("told", call=call, text="too late")
        await on.heard()


@on_loop
async def test_opening_and_stopping() -> None:
    async with stage() as on:
        assert not on.front_end.opened.is_set()
        on.say("open", call=4, prometheus_path=None, ssl=None)
        await on.front_end.opened.wait()
        on.front_end.listening()
        await until(lambda: on.told[-1] == {"type": "answer", "call": 4})
        assert on.types() == ["ready", "answer"]
        on.say("stop")
        await on.front_end.stopping.wait()
