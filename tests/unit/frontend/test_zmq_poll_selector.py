"""A loop that sleeps in ZeroMQ's poll: messages, completions, timers and everything else of asyncio's have their turns."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from frontend.zmq.poll_selector import PollLoop, PollSelector

LIMIT = 20


def on_poll_loop(test: Callable[[PollSelector], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        selector = PollSelector()
        with asyncio.Runner(loop_factory=lambda: PollLoop(selector)) as runner:
            runner.run(asyncio.wait_for(test(selector), LIMIT))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contextmanager
def sockets() -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        yield one, other


@on_poll_loop
async def test_messages_and_descriptors(selector: PollSelector) -> None:
    with sockets() as (mine, other):
        bell = os.eventfd(0, os.EFD_NONBLOCK)
        got: list[Any] = []
        enough = asyncio.Event()

        def note(what: Any) -> None:
            got.append(what)
            if len(got) == 3:
                enough.set()

        selector.watch(mine, lambda: note(mine.recv(zmq.NOBLOCK)))
        selector.watch(bell, lambda: note(os.eventfd_read(bell)))
        other.send(b"one")
        os.eventfd_write(bell, 7)
        other.send(b"two")
        await enough.wait()
        assert sorted(map(str, got)) == ["7", "b'one'", "b'two'"]
        assert got.index(b"one") < got.index(b"two")
        selector.ignore(bell)
        os.eventfd_write(bell, 1)
        other.send(b"three")
        while len(got) < 4:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert got[3:] == [b"three"]
        selector.ignore(mine)
        os.close(bell)


@on_poll_loop
async def test_what_a_handler_leaves_to_the_loop_is_done_at_once(selector: PollSelector) -> None:
    """Also where nothing else would wake it."""
    with sockets() as (mine, other):
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        async def later(message: bytes) -> None:
            await asyncio.sleep(0)
            assert message == b"go"
            loop.call_later(0.01, done.set)

        def handle() -> None:
            message = mine.recv(zmq.NOBLOCK)
            loop.call_soon(lambda: tasks.append(loop.create_task(later(message))))

        tasks: list[asyncio.Task[None]] = []
        selector.watch(mine, handle)
        threading.Timer(0.05, lambda: other.send(b"go")).start()
        await done.wait()
        selector.ignore(mine)


@on_poll_loop
async def test_timers_go_off_in_time_and_not_before(selector: PollSelector) -> None:
    with sockets() as (mine, _):
        selector.watch(mine, lambda: None)
        for seconds in (0.0, 0.0001, 0.001, 0.02, 0.1):
            began = time.monotonic()
            await asyncio.sleep(seconds)
            took = time.monotonic() - began
            assert seconds <= took + 1e-4
            assert took < seconds + 5
        selector.ignore(mine)


@on_poll_loop
async def test_timers_and_others_have_their_turns_while_messages_come_without_end(selector: PollSelector) -> None:
    with sockets() as (mine, other):
        got = 0
        one, two = socket.socketpair()

        def handle() -> None:
            nonlocal got
            got += 1
            other.send(mine.recv(zmq.NOBLOCK))

        def again() -> None:
            mine.send(other.recv(zmq.NOBLOCK))

        selector.watch(mine, handle)
        selector.watch(other, again)
        other.send(b"round")
        with one, two:
            loop = asyncio.get_running_loop()
            one.setblocking(False)
            two.setblocking(False)
            for _ in range(20):
                await asyncio.sleep(0.001)
                await loop.sock_sendall(one, b"x")
                assert await loop.sock_recv(two, 1) == b"x"
                assert await loop.run_in_executor(None, lambda: 5) == 5
        assert got > 20
        selector.ignore(mine)
        selector.ignore(other)


@on_poll_loop
async def test_calls_of_other_threads(selector: PollSelector) -> None:
    with sockets() as (mine, _):
        selector.watch(mine, lambda: None)
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        threading.Timer(0.05, lambda: loop.call_soon_threadsafe(done.set)).start()
        await done.wait()
        selector.ignore(mine)


def test_a_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Is logged; the others go on, and so does it."""

    @on_poll_loop
    async def fail(selector: PollSelector) -> None:
        with sockets() as (mine, other):
            got: list[bytes] = []

            def handle() -> None:
                got.append(mine.recv(zmq.NOBLOCK))
                if len(got) == 1:
                    raise RuntimeError("once")

            selector.watch(mine, handle)
            for message in (b"a", b"b"):
                other.send(message)
            while len(got) < 2:
                await asyncio.sleep(0)
            selector.ignore(mine)

    with caplog.at_level(logging.ERROR):
        fail()
    assert [record.getMessage() for record in caplog.records] == [
        "a message or a completion failed in a way it never should"
    ]


@on_poll_loop
async def test_a_burst_is_served_whole(selector: PollSelector) -> None:
    """A handler that leaves messages is called again, without anything new."""
    with sockets() as (mine, other):
        got: list[bytes] = []
        selector.watch(mine, lambda: got.append(mine.recv(zmq.NOBLOCK)))
        for number in range(500):
            other.send(b"%d" % number)
        while len(got) < 500:
            await asyncio.sleep(0.001)
        assert got == [b"%d" % number for number in range(500)]
        selector.ignore(mine)
