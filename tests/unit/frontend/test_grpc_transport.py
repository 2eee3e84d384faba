"""Calls over a real connection, from grpcio's own client, to handlers of the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from frontend.grpc.completion_queue import CompletionQueue, reject
from frontend.grpc.rpc import StreamRpc, UnaryRpc
from frontend.grpc.stream import Stream
from frontend.grpc.turns import TurnLoop
from ringserve.errors import Code, ServingError

LIMIT = 20


class Echo:
    """A server whose methods a test puts in."""

    def __init__(self) -> None:
        self.unary: dict[bytes, Callable[[UnaryRpc], None]] = {b"/t/Echo": lambda rpc: rpc.finish(rpc.message)}
        self.streams: dict[bytes, Callable[[Stream], Awaitable[None]]] = {}
        self.open: dict[asyncio.Task[None], StreamRpc] = {}
        self.queue = CompletionQueue([("grpc.so_reuseport", 0)], self._arrived)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"

    def _arrived(self, event: Any) -> None:
        name = event.call_details.method
        if name == b"/t/Boom":
            raise MemoryError
        if name in self.unary:
            UnaryRpc(self.queue, event, self.unary[name])
        elif name in self.streams:
            StreamRpc(self.queue, event, self.streams[name], self._begun)
        else:
            reject(event.call, Code.UNIMPLEMENTED, b"Method not found!")

    def _begun(self, rpc: StreamRpc, task: asyncio.Task[None]) -> None:
        self.open[task] = rpc
        task.add_done_callback(self.open.pop)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Echo, grpc.aio.Channel]]:
    server = Echo()
    server.queue.listen(server.address)
    server.queue.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield server, channel
    await asyncio.wait_for(server.queue.stop(1), LIMIT)


def within_turns(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=TurnLoop) as runner:
        runner.run(main)


def run(test: Callable[[Echo, grpc.aio.Channel], Awaitable[None]]) -> None:
    async def within() -> None:
        async with serving() as (server, channel):
            await asyncio.wait_for(test(server, channel), LIMIT)

    within_turns(within())


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def test_many_at_once_get_their_own_answers() -> None:
    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        echo = channel.unary_unary("/t/Echo")
        messages = [bytes([number % 256]) * (number * 7) for number in range(500)]
        assert await asyncio.gather(*(echo(message) for message in messages)) == messages

    run(test)


def test_errors_have_their_code_and_a_text_that_is_cut() -> None:
    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        server.unary[b"/t/Fail"] = lambda rpc: rpc.fail(ServingError(Code.FAILED_PRECONDITION, "é" * 1000))
        code, text = await refusal(channel.unary_unary("/t/Fail")(b""))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert text == "é" * 512 + "...TRUNCATED"
        assert await refusal(channel.unary_unary("/t/No")(b"")) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    run(test)


def test_deadlines_metadata_and_clients_that_go() -> None:
    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        seen: list[UnaryRpc] = []
        gone = asyncio.Event()

        def keep(rpc: UnaryRpc) -> None:
            rpc.gone = gone.set
            seen.append(rpc)

        server.unary[b"/t/Keep"] = keep
        keeping = channel.unary_unary("/t/Keep")
        code, _ = await refusal(keeping(b"x", timeout=0.2, metadata=(("a-key", "value"), ("b-bin", b"\xff"))))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await gone.wait()
        (rpc,) = seen
        assert 0 < rpc.timeout < 0.25e9  # gRPC rounds up
        assert (rpc.metadata("a-key"), rpc.metadata("b-bin"), rpc.metadata("c")) == ("value", None, None)
        rpc.finish(b"too late")

        gone.clear()
        call = keeping(b"x")
        while len(seen) < 2:
            await asyncio.sleep(0.001)
        assert seen[1].timeout == 0
        call.cancel()
        await gone.wait()
        seen[1].fail(ServingError(Code.INTERNAL, "too late"))
        assert await channel.unary_unary("/t/Echo")(b"on") == b"on"

    run(test)


def test_a_handler_that_raises_hurts_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        def fail(_: UnaryRpc) -> None:
            raise ValueError("in a handler")

        server.unary[b"/t/Fail"] = fail
        code, text = await refusal(channel.unary_unary("/t/Fail")(b""))
        assert (code, text.split(";")[0]) == (grpc.StatusCode.INTERNAL, "The server failed on this request")
        assert await channel.unary_unary("/t/Echo")(b"on") == b"on"

    run(test)
    assert "never should" in caplog.text


def test_events_that_fail_in_the_queues_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Its calls end, and others go on: more of them than may begin at a time."""

    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        failing = channel.unary_unary("/t/Boom")
        calls = [failing(b"", timeout=LIMIT) for _ in range(50)]
        codes = {(await refusal(call))[0] for call in calls}
        assert codes <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}, codes
        assert await channel.unary_unary("/t/Echo")(b"on") == b"on"

    run(test)
    assert "an event failed" in caplog.text


def test_streams() -> None:
    async def double(stream: Stream) -> None:
        while (message := await stream.read()) is not None:
            if message == b"fail":
                raise ServingError(Code.DATA_LOSS, "as you wish")
            await stream.write(message)
            await stream.write(message)

    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        server.streams[b"/t/Double"] = double
        doubling = channel.stream_stream("/t/Double")
        messages = [bytes([number % 256]) * number for number in range(300)]
        answers = [answer async for answer in doubling(iter(messages))]
        assert answers == [message for message in messages for _ in range(2)]
        assert [answer async for answer in doubling(iter([]))] == []

        call = doubling(iter([b"1", b"fail"]))
        assert [await call.read() for _ in range(2)] == [b"1", b"1"]
        assert await refusal(call.read()) == (grpc.StatusCode.DATA_LOSS, "as you wish")

    run(test)


def test_a_stream_that_is_told_of_what_it_has_read() -> None:
    """Messages come while its handler is busy, and their announcement when they are read already."""

    async def count(stream: Stream) -> None:
        number = 0
        while await stream.read() is not None:
            number += 1
            if number % 3 == 0:
                await asyncio.sleep(0)
        await stream.write(str(number).encode())

    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        server.streams[b"/t/Count"] = count
        for _ in range(20):
            call = channel.stream_unary("/t/Count")
            assert await call(iter([b"x"] * 300)) == b"300"

    run(test)


def test_an_announcement_alone_is_not_the_end() -> None:
    async def echo(stream: Stream) -> None:
        assert isinstance(stream, StreamRpc)
        asyncio.get_running_loop().call_soon(stream._look)
        while (message := await stream.read()) is not None:
            asyncio.get_running_loop().call_soon(stream._look)
            await stream.write(message)

    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        server.streams[b"/t/Told"] = echo
        call = channel.stream_stream("/t/Told")()
        for _ in range(3):
            await call.write(b"x")
            assert await call.read() == b"x"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    run(test)


def test_a_stream_whose_client_goes() -> None:
    ended = asyncio.Event()

    async def wait(stream: Stream) -> None:
        try:
            await stream.write(b"here")
            await stream.read()  # which may end before the call does
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.set()
            raise

    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        server.streams[b"/t/Wait"] = wait
        call = channel.stream_stream("/t/Wait")()
        assert await call.read() == b"here"
        call.cancel()
        await ended.wait()
        while server.open:
            await asyncio.sleep(0.001)

    run(test)


def test_stop_answers_what_has_begun_and_closes_streams() -> None:
    async def talk(stream: Stream) -> None:
        while await stream.read() is not None:
            await stream.write(b"yes")
        await stream.write(b"last")

    async def test(server: Echo, channel: grpc.aio.Channel) -> None:
        kept: list[UnaryRpc] = []
        server.unary[b"/t/Keep"] = kept.append
        server.streams[b"/t/Talk"] = talk
        call = channel.unary_unary("/t/Keep")(b"x")
        stream = channel.stream_stream("/t/Talk")()
        await stream.write(b"?")
        assert await stream.read() == b"yes"
        while not kept:
            await asyncio.sleep(0.001)
        for rpc in server.open.values():
            rpc.close(ServingError(Code.UNAVAILABLE, "The server is stopping"))
        stopping = asyncio.ensure_future(server.queue.stop(LIMIT))
        assert await stream.read() == b"last"
        assert await refusal(stream.read()) == (grpc.StatusCode.UNAVAILABLE, "The server is stopping")
        assert not stopping.done()
        kept[0].finish(b"answered")
        assert await call == b"answered"
        await stopping

    async def within() -> None:
        server = Echo()
        server.queue.listen(server.address)
        server.queue.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            await asyncio.wait_for(test(server, channel), LIMIT)

    within_turns(within())


def test_stop_cancels_what_does_not_end() -> None:
    async def within() -> None:
        async with serving() as (server, channel):
            kept: list[UnaryRpc] = []
            server.unary[b"/t/Keep"] = kept.append
            call = channel.unary_unary("/t/Keep")(b"x")
            while not kept:
                await asyncio.sleep(0.001)
            stopping = asyncio.ensure_future(server.queue.stop(0.05))
            code, _ = await refusal(call)
            assert code is not grpc.StatusCode.OK
            await asyncio.wait_for(stopping, LIMIT)
            server.queue.stop = stopped  # type: ignore[method-assign, assignment]

    async def stopped(_: float) -> None:
        pass

    within_turns(within())


def test_stop_in_the_moment_of_the_start() -> None:
    """Before the queue's thread has asked for calls."""

    async def start_and_stop() -> None:
        for _ in range(20):
            server = Echo()
            server.queue.listen(server.address)
            server.queue.start()
            await asyncio.wait_for(server.queue.stop(1), LIMIT)

    within_turns(start_and_stop())


def test_an_address_that_is_taken() -> None:
    async def within() -> None:
        async with serving() as (server, _):
            other = Echo()
            with pytest.raises(ServingError, match=f"can't listen on {server.address}"):
                other.queue.listen(server.address)

    within_turns(within())
