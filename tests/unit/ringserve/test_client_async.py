"""The client for asyncio: against a gRPC server, and over a transport without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import uvloop
from answering_server import METADATA, PREDICT, AnsweringServer, answering_server, half_plus_two, metadata_of, singles
from played_transport import PlayedTransport, half, playing, prediction

import ringserve
from ringserve.client import Classification, Metadata, Predictions, Regression
from ringserve.client.answers import Source
from ringserve.client.async_client import AsyncClient
from ringserve.client.loop_answers import LoopAnswers
from ringserve.client.operations import Classify, MetadataOf, Models, PredictEach, Ready, Regress, Status
from ringserve.errors import Code, ServingError

X = {"x": singles([1])}
SOURCE = Source("m", 1, "s")

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.param
    return found


@pytest.fixture
def transport() -> Iterator[PlayedTransport]:
    with playing(PlayedTransport(half)) as played:
        yield played


@pytest.fixture
def server() -> Iterator[tuple[AnsweringServer, str]]:
    with answering_server() as (server, port):
        server.answers[PREDICT] = half_plus_two
        server.answers[METADATA] = metadata_of(x=1)
        yield server, f"grpc://127.0.0.1:{port}"


def test_many_at_a_time(server: tuple[AnsweringServer, str], run: Run) -> None:
    async def ask() -> None:
        async with AsyncClient(server[1], timeout=20) as client:
            answers = await asyncio.gather(*(client.predict("half", {"x": singles([number])}) for number in range(200)))
            assert [answer["y"].tolist() for answer in answers] == [[number / 2 + 2] for number in range(200)]
            assert (await client.predict("half", [1, 2]))["y"].tolist() == [2.5, 3.0]
            each = await client.predict_each("half", [1, 2, 3])
            assert (each["y"].tolist(), each.errors) == ([2.5, 3.0, 3.5], {})
            with pytest.raises(ServingError, match="no such signature"):
                await client.predict("half", X, signature="boom")

    run(ask())


def test_several_loops_one_after_another(server: tuple[AnsweringServer, str], run: Run) -> None:
    client = AsyncClient(server[1], timeout=20)
    for _ in range(3):
        assert run(client.predict("half", X))["y"].tolist() == [2.5]
    run(client.close())
    with pytest.raises(ServingError, match="The client is closed"):
        run(client.predict("half", X))


def test_several_loops_at_a_time(server: tuple[AnsweringServer, str]) -> None:
    client = AsyncClient(server[1], timeout=20)
    wrong: list[int] = []

    async def ask(first: int) -> None:
        for number in range(first, first + 50):
            if (await client.predict("half", {"x": singles([number])}))["y"].tolist() != [number / 2 + 2]:
                wrong.append(number)

    threads = [threading.Thread(target=lambda which=which: asyncio.run(ask(100 * which))) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert wrong == []
    asyncio.run(client.close())


def test_a_task_that_is_cancelled_ends_its_call(server: tuple[AnsweringServer, str], run: Run) -> None:
    started, ended = threading.Event(), threading.Event()

    def answer(_: bytes, call: Any) -> bytes:
        call.add_callback(ended.set)
        started.set()
        ended.wait(20)
        return b""

    server[0].answers[PREDICT] = answer

    async def ask() -> None:
        async with AsyncClient(server[1], timeout=20) as client:
            task = asyncio.create_task(client.predict("half", X))
            assert await asyncio.to_thread(started.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(ended.wait, 20)

    run(ask())


def test_time_limits_and_no_server(run: Run) -> None:
    async def ask(address: str) -> None:
        async with AsyncClient(address, timeout=20) as client:
            assert not await client.is_ready()
            with pytest.raises(ServingError) as caught:
                await client.predict("half", X)
            assert caught.value.code is Code.UNAVAILABLE
            with pytest.raises(ServingError, match="No answer within 0 s"):
                await client.predict("half", X, timeout=0)
            with pytest.raises(ValueError, match="a timeout is"):
                await client.predict("half", X, timeout=-1)

    with answering_server() as (_, port):
        pass
    run(ask(f"grpc://127.0.0.1:{port}"))


def test_signatures_are_asked_for_once(transport: PlayedTransport) -> None:
    async def ask() -> None:
        client = AsyncClient("played://")
        for _ in range(3):
            assert (await client.predict("m", [1]))["y"].tolist() == [2.5]
        with pytest.raises(ServingError, match='"other" not found'):
            await client.predict("m", [1], signature="other")
        with pytest.raises(ServingError, match="no input 'z'"):
            await client.predict("m", {"z": [1]})

    asyncio.run(ask())
    assert [type(operation) for operation in transport.operations].count(MetadataOf) == 1


def test_other_questions(transport: PlayedTransport) -> None:
    found = Predictions([("y", np.zeros(2))], SOURCE)
    answers: dict[type, Any] = {
        Classify: Classification([], SOURCE),
        Regress: Regression([1.5], SOURCE),
        Status: [],
        MetadataOf: Metadata("m", 1, {}),
        Models: ["a", "b"],
        Ready: True,
        PredictEach: found,
    }
    transport.answer = lambda operation: answers[type(operation)]

    async def ask() -> None:
        async with ringserve.AsyncClient("played://") as client:
            assert await client.classify("m", [b"one"], context=b"all", label="l", signature="s", key="k") == []
            assert await client.regress("m", [b"one", b"two"]) == [1.5]
            assert await client.status("m", 3) == []
            assert (await client.metadata("m", label="l")).version == 1
            assert await client.models() == ["a", "b"]
            assert await client.is_ready("m")
            assert await client.predict_each("m", {"x": singles([1, 2])}) is found

    asyncio.run(ask())
    assert transport.operations[:-1] == [
        Classify(("m", None, "l"), "s", (b"one",), b"all", "k"),
        Regress(("m", None, None), "", (b"one", b"two"), None, None),
        Status("m", 3),
        MetadataOf(("m", None, "l")),
        Models(),
        Ready("m"),
    ]
    assert transport.is_closed


def test_an_answer_after_its_loop_has_ended(transport: PlayedTransport) -> None:
    transport.answer = None

    async def ask() -> None:
        task = asyncio.create_task(AsyncClient("played://").predict("m", X))
        while not transport.asked:
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(ask())
    [asked] = transport.next()
    assert asked.is_cancelled
    asked.done(prediction())


def put_all(answers: LoopAnswers, waiting: list[asyncio.Future[int]]) -> None:
    for number, one in enumerate(waiting):
        answers.put(one, number)


def test_answers_share_a_wake_up() -> None:
    async def hand_over() -> None:
        loop = asyncio.get_running_loop()
        answers = LoopAnswers(loop)
        with patch.object(loop, "call_soon_threadsafe", wraps=loop.call_soon_threadsafe) as wake:
            for _ in range(2):
                waiting = [loop.create_future() for _ in range(10)]
                thread = threading.Thread(target=put_all, args=(answers, waiting))
                thread.start()
                thread.join(20)
                assert await asyncio.gather(*waiting) == list(range(10))
        assert wake.call_count == 2

    asyncio.run(hand_over())


def test_a_coroutine_that_nobody_goes_on_with_ends_its_call() -> None:
    with playing(PlayedTransport()) as played:

        async def ask() -> None:
            asking = AsyncClient("played://").predict("half", X)
            asking.send(None)
            asking.close()

        asyncio.run(ask())
        assert played.next()[0].is_cancelled
