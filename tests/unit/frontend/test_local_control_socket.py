"""What clients may do to their control connection without harm to anybody but themselves."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct

import pytest
from front_end_stage import until
from hypothesis import given, settings
from hypothesis import strategies as st
from local_stage import HELLO, OPEN, LocalStage, open_files, play

from frontend.local.control_socket import ControlSocket
from ringserve.channel import Message, _encode
from ringserve.errors import Code

HEAD = struct.Struct("<II")
MODELS: Message = {"type": "ask", "call": 1, "question": {"call": "models"}}


async def files_left(count: int) -> None:
    """There are no more open files than so many."""
    await until(lambda: open_files() <= count)


async def still_serves(on: LocalStage) -> None:
    """Another client is served as ever."""
    client = await on.client()
    await client.send(MODELS)
    assert (await client.message())["type"] == "told"
    client.close()


@pytest.mark.parametrize(
    "data",
    [
        HEAD.pack((1 << 32) - 1, 0),
        HEAD.pack((64 << 10) + 1, 0),
        HEAD.pack(1, 1) + b"\x80",
        HEAD.pack(1, 1 << 31),
        HEAD.pack(0, 0),
        HEAD.pack(1, 0) + b"\xc1",
        HEAD.pack(1, 0) + b"\x90",
        HEAD.pack(3, 0) + b"\x81\x01\x01",  # a key that is no text
        HEAD.pack(5, 0) + b"\xdd\xff\xff\xff\xff",
        HEAD.pack(5, 0) + b"\xdf\xff\xff\xff\xff",
        HEAD.pack(60000, 0) + b"\x91" * 60000,
        HEAD.pack(60000, 0) + b"\xdd\x00\x00\xff\xff" * 12000,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
@pytest.mark.parametrize("greeted", [False, True])
def test_what_is_no_message_ends_the_connection(data: bytes, greeted: bool) -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client() if greeted else on.connect()
        await client.send_bytes(data)
        await client.end()
        await still_serves(on)
        await until(lambda: not on.server.clients)

    play(script)


def test_a_message_may_come_in_any_pieces_and_many_at_once() -> None:
    async def script(on: LocalStage) -> None:
        client = on.connect()
        data = _encode(HELLO, ()) + b"".join(_encode({**MODELS, "call": call}, ()) for call in range(40))
        for at in range(0, 100):
            await client.send_bytes(data[at : at + 1])
            await asyncio.sleep(0)
        await client.send_bytes(data[100:])
        assert (await client.message())["type"] == "welcome"
        assert [(await client.message())["call"] for _ in range(40)] == list(range(40))

    play(script)


def test_half_a_message_holds_up_nobody() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await client.send_bytes(_encode(MODELS, ())[:-1])
        await still_serves(on)
        client.close()
        await until(lambda: not on.server.clients)

    play(script)


def test_descriptors_that_a_client_sends_are_never_the_servers() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        with open(os.devnull, "rb") as null:
            before = open_files()
            for _ in range(20):
                socket.send_fds(client.socket, [_encode(MODELS, ())], [null.fileno()] * 100)
                assert (await client.message())["type"] == "told"
                assert open_files() == before

    play(script)


def test_a_client_that_reads_nothing_is_not_listened_to() -> None:
    """What it does not take is bounded; when it does, it gets everything, in order."""

    async def script(on: LocalStage) -> None:
        client = await on.client()
        (served,) = on.server.clients
        loop = asyncio.get_running_loop()
        count = 40_000
        data = b"".join(_encode({**MODELS, "call": call}, ()) for call in range(count))
        sending = loop.create_task(loop.sock_sendall(client.socket, data))
        control = served._control
        await until(lambda: control._is_full and not control._reads)
        await still_serves(on)
        assert len(control._unsent) <= 64 + 1
        assert len(control._bytes) <= 2 * (64 << 10) + 8
        assert not sending.done()
        for call in range(count):
            assert (await client.message())["call"] == call
        await sending

    play(script)


def test_a_client_that_reads_nothing_and_goes() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        (served,) = on.server.clients
        data = b"".join(_encode({**MODELS, "call": call}, ()) for call in range(40_000))
        sending = asyncio.get_running_loop().create_task(client.send_bytes(data))
        await until(lambda: served._control._is_full)
        sending.cancel()
        await asyncio.wait([sending])
        client.close()
        await until(lambda: not on.server.clients)
        await still_serves(on)

    play(script)


def test_thousands_of_opens_cost_the_supervisor_one_question_at_a_time() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        sending = asyncio.get_running_loop().create_task(client.send(*({**OPEN, "call": call} for call in range(3000))))
        codes = [(await client.message())["code"] for _ in range(3000 - 64)]
        assert set(codes) == {Code.RESOURCE_EXHAUSTED}
        await sending
        await on.front.heard()
        assert on.front.types().count("local_lane") == 1
        await still_serves(on)
        client.close()
        _, bell = await on.make_lane()
        await on.dropped()
        await on.front.heard()
        assert "local_lane" not in on.front.types()
        bell.close()

    play(script)


def test_opening_and_closing_for_ever_leaves_nothing() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        before = open_files()
        for _ in range(100):
            number, bell, _ = await on.open(client)
            await client.send({"type": "close", "lane": number})
            assert await on.dropped() == number
            bell.close()
        assert open_files() == before

    play(script)


def test_a_client_that_goes_without_its_lanes_descriptors() -> None:
    """They were on their way to it."""

    async def script(on: LocalStage) -> None:
        await on.front.serve()
        for _ in range(20):
            client = await on.client()
            before = open_files()
            await client.send({**OPEN, "call": 1})
            number, bell = await on.make_lane()
            await until(lambda: any(served.has_lanes and served._lanes for served in on.server.clients))
            client.close()
            assert await on.dropped() == number
            assert bell.recv(1) == b""
            bell.close()
            await files_left(before)

    play(script)


def test_clients_that_come_and_go_at_once() -> None:
    async def script(on: LocalStage) -> None:
        for _ in range(300):
            on.connect().close()
        await still_serves(on)
        await until(lambda: not on.server.clients)

    play(script)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": None},
        {"type": ["open"], "call": 1},
        {"type": "open"},
        {"type": "open", "call": "1"},
        {"type": "open", "call": None},
        {"type": "ask", "call": 1.5},
        {"type": "hello", "v": 1},
        {"type": "stop", "call": 1},
    ],
)
def test_messages_that_mean_nothing_end_the_connection_with_a_reason(message: Message) -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await client.send(message)
        assert (await client.message())["code"] == Code.INVALID_ARGUMENT
        await client.end()

    play(script)


def test_a_handler_that_fails_ends_that_clients_connection_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("what no check foresaw")

    async def script(on: LocalStage) -> None:
        client, other = await on.client(), await on.client()
        with monkeypatch.context() as patch:
            patch.setattr("frontend.local.client.answer", fail)
            await client.send(MODELS)
            assert (await client.message())["code"] == Code.INTERNAL
        await client.end()
        await other.send(MODELS)
        assert (await other.message())["type"] == "told"

    play(script)
    assert "what no check foresaw" in caplog.text


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
_fields = st.fixed_dictionaries(
    {"type": st.sampled_from(["open", "ask", "close", "hello"]), "call": st.integers(-5, 5) | _values},
    optional={
        "model": st.just("m") | _values,
        "version": st.just(1) | _values,
        "label": _values,
        "key": _values,
        "signature": st.just("serving_default") | _values,
        "inputs": st.just([[1, "<f4", [2]]]) | _values,
        "lane": st.integers(0, 3) | _values,
        "question": st.fixed_dictionaries(
            {"call": st.sampled_from(["status", "metadata", "models", "health"]) | _values},
            optional={"model": st.just("m") | _values, "version": _values, "label": _values, "id": _values},
        )
        | _values,
    },
)


@settings(max_examples=30, deadline=None)
@given(st.lists(_fields, max_size=5), st.integers(0, 2**32))
def test_any_messages_have_answers_or_end_the_connection(messages: list[Message], seed: int) -> None:
    """In pieces of any size; nothing is logged as a failure of the server's."""
    chance = random.Random(seed)

    async def script(on: LocalStage) -> None:
        await on.front.serve()
        client = await on.client()
        data = b"".join(_encode(message, ()) for message in messages)
        while data:
            size = chance.randrange(1, 200)
            await client.send_bytes(data[:size])
            data = data[size:]
        await on.front.heard()
        await still_serves(on)
        client.read()
        for message, _ in client._got:
            assert message["type"] in ("error", "told", "retire"), message
            assert message.get("code") != Code.INTERNAL, message

    play(script)


def test_closing_tells_once_and_closes_descriptors_that_wait() -> None:
    async def scene() -> None:
        ours, theirs = socket.socketpair()
        ended = []
        control = ControlSocket(ours, lambda _: None, lambda: ended.append(True))
        before = open_files()
        control.send({"type": "x", "data": b"x" * (4 << 20)})  # more than a socket holds
        for _ in range(3):
            control.send({"type": "lane"}, [os.dup(0), os.dup(0)])
        control.close()
        control.close()
        control.send({"type": "lane"}, [os.dup(0)])
        assert ended == [True]
        assert open_files() == before - 1  # the socket itself
        theirs.close()

    asyncio.run(scene())
