"""Control channels: messages and descriptors in any cut, both ends over real sockets, and the other end going away."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.channel import AsyncChannel, Channel, Decoder, Message, _encode

LIMIT = 20
MOST_FDS = 253  # what Linux takes in one sendmsg

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def pipe_of(text: bytes) -> int:
    """The reading end of a pipe that holds `text`: a descriptor that can be told from every other."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    return reading


def text_of(fd: int) -> bytes:
    text = os.read(fd, 100)
    os.close(fd)
    return text


message = st.fixed_dictionaries({"n": st.integers(-(1 << 63), (1 << 64) - 1), "b": st.binary(max_size=300)})
messages = st.lists(st.tuples(message, st.lists(st.integers(0, 999), max_size=3)), max_size=5)


@given(messages, st.data())
def test_messages_come_whole_and_in_order_however_the_bytes_are_cut(
    sent: list[tuple[Message, list[int]]], data: st.DataObject
) -> None:
    """Descriptors come with the first byte of their message, as the kernel hands them over."""
    decoder = Decoder()
    received = []
    pieces = [(_encode(message, fds), fds) for message, fds in sent]
    while pieces:
        raw, fds = pieces.pop(0)
        cut = data.draw(st.integers(1, len(raw)))
        if cut < len(raw):
            pieces.insert(0, (raw[cut:], []))
        received += decoder.feed(raw[:cut], fds)
    assert received == sent


@given(messages)
def test_messages_come_one_by_one_from_single_bytes_and_all_at_once(sent: list[tuple[Message, list[int]]]) -> None:
    raw = b"".join(_encode(message, []) for message, _ in sent)
    expected: list[tuple[Message, list[int]]] = [(message, []) for message, _ in sent]
    assert Decoder().feed(raw, []) == expected
    decoder = Decoder()
    assert [got for at in range(len(raw)) for got in decoder.feed(raw[at : at + 1], [])] == expected


@pytest.mark.parametrize("head", [b"\xff\xff\xff\xff\0\0\0\0", b"\x01\0\0\0\xff\0\0\0"])
def test_a_length_that_cannot_be_is_an_error_not_a_wait_for_4_gigabytes(head: bytes) -> None:
    with pytest.raises(ValueError, match="control message of"):
        Decoder().feed(head, [])


@pytest.mark.parametrize("count", [0, 1, MOST_FDS])
def test_descriptors_arrive_in_order_and_are_not_inherited(pair: Pair, count: int) -> None:
    fds = [pipe_of(b"%d" % index) for index in range(count)]
    Channel(pair[0]).send({"type": "x", "n": 1}, fds)
    for fd in fds:
        os.close(fd)
    ((message, received),) = Channel(pair[1]).receive(LIMIT)
    assert message == {"type": "x", "n": 1}
    assert not any(os.get_inheritable(fd) for fd in received)
    assert [text_of(fd) for fd in received] == [b"%d" % index for index in range(count)]


def test_descriptors_stay_with_their_messages(pair: Pair) -> None:
    sender, receiver = Channel(pair[0]), Channel(pair[1])
    for number in range(6):
        fds = [pipe_of(b"%d.%d" % (number, index)) for index in range(number % 3)]
        sender.send({"number": number, "padding": "x" * 5000 * number}, fds)
        for fd in fds:
            os.close(fd)
    got: list[tuple[Message, list[int]]] = []
    while len(got) < 6:
        got += receiver.receive(LIMIT)
    for number, (message, fds) in enumerate(got):
        assert message["number"] == number
        assert [text_of(fd) for fd in fds] == [b"%d.%d" % (number, index) for index in range(number % 3)]


def test_receive_returns_nothing_when_nothing_comes(pair: Pair) -> None:
    assert Channel(pair[0]).receive(0.01) == []


def test_the_other_end_closing_ends_receive_and_send(pair: Pair) -> None:
    channel = Channel(pair[0])
    pair[1].sendall(_encode({"last": True}, []))
    pair[1].close()
    assert channel.receive(LIMIT) == [({"last": True}, [])]
    with pytest.raises(EOFError):
        channel.receive(LIMIT)
    with pytest.raises(OSError):
        channel.send({"anybody": "there"})


def test_the_other_end_closing_unread_is_an_end_too(pair: Pair) -> None:
    """The kernel calls it a reset."""
    channel = Channel(pair[0])
    channel.send({"type": "unread"})
    pair[1].close()
    with pytest.raises(EOFError):
        channel.receive(LIMIT)


def test_a_thread_may_send_much_while_another_receives_with_a_timeout(pair: Pair) -> None:
    """As in a worker: its control thread looks up once a second, and answers are sent from another."""
    channel = Channel(pair[0])
    failure: list[BaseException] = []
    stop = threading.Event()

    def receive() -> None:
        while not stop.is_set():
            channel.receive(0.001)

    def send() -> None:
        try:
            channel.send({"big": b"x" * (8 << 20)})
        except BaseException as error:
            failure.append(error)

    threads = [threading.Thread(target=work) for work in (receive, send)]
    for thread in threads:
        thread.start()
    reader = Channel(pair[1])
    wait_until_blocked(threads[1], pair[1])
    got: list[tuple[Message, list[int]]] = []
    while not got and not failure:
        got = reader.receive(LIMIT)
    stop.set()
    for thread in threads:
        thread.join(LIMIT)
    assert failure == []
    assert len(got[0][0]["big"]) == 8 << 20


def wait_until_blocked(sender: threading.Thread, receiving: socket.socket) -> None:
    """Until the sender has filled the socket and waited, far longer than the other thread's timeout."""
    give_up = time.monotonic() + LIMIT
    full_since = None
    seen = -1
    while full_since is None or time.monotonic() - full_since < 0.1:
        assert time.monotonic() < give_up
        if not sender.is_alive():
            return
        waiting = len(receiving.recv(1 << 22, socket.MSG_PEEK))
        if waiting != seen or not waiting:
            seen, full_since = waiting, time.monotonic()
        time.sleep(0.002)


class Ear:
    """An asynchronous end, and what it heard."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[tuple[Message, list[int]]] = []
        self.closed = 0
        self.something = asyncio.Event()
        self.channel = AsyncChannel(sock, self._on_message, self._on_close)

    def _on_message(self, message: Message, fds: list[int]) -> None:
        self.heard.append((message, fds))
        self.something.set()

    def _on_close(self) -> None:
        self.closed += 1
        self.something.set()

    async def until(self, condition: Any) -> None:
        async def wait() -> None:
            while not condition():
                self.something.clear()
                await self.something.wait()

        await asyncio.wait_for(wait(), LIMIT)


def test_an_asynchronous_end_hears_what_comes_byte_by_byte(pair: Pair) -> None:
    async def run() -> None:
        ear = Ear(pair[0])
        raw = _encode({"type": "x"}, [1]) + _encode({"type": "y"}, [])
        fd = pipe_of(b"fd")
        socket.send_fds(pair[1], [raw[:1]], [fd])
        os.close(fd)
        for at in range(1, len(raw)):
            pair[1].send(raw[at : at + 1])
            await asyncio.sleep(0)
        await ear.until(lambda: len(ear.heard) == 2)
        (first, fds), second = ear.heard
        assert (first, second) == ({"type": "x"}, ({"type": "y"}, []))
        assert [text_of(fd) for fd in fds] == [b"fd"]
        ear.channel.close()

    asyncio.run(run())


def test_sending_never_blocks_and_the_backlog_arrives_whole_and_in_order(pair: Pair) -> None:
    count, size = 60, 50_000  # far more than a socket holds

    async def run() -> None:
        left, right = Ear(pair[0]), Ear(pair[1])
        for number in range(count):
            fds = [pipe_of(b"%d" % number)] if number % 3 == 0 else []
            left.channel.send({"number": number, "padding": b"x" * size}, fds)
            for fd in fds:  # the channel has descriptors of its own
                os.close(fd)
        assert right.heard == []
        await right.until(lambda: len(right.heard) == count)
        for number, (message, fds) in enumerate(right.heard):
            assert (message["number"], len(message["padding"])) == (number, size)
            assert [text_of(fd) for fd in fds] == ([b"%d" % number] if number % 3 == 0 else [])
        left.channel.close()
        await right.until(lambda: right.closed)

    before = open_descriptors()
    asyncio.run(run())
    assert open_descriptors() == before - 2, "only the two ends are closed, and nothing else is left open"


def test_an_end_that_closes_is_told_once_and_what_is_unsent_is_let_go(pair: Pair) -> None:
    async def run() -> None:
        ear = Ear(pair[0])
        for _ in range(10):
            fd = pipe_of(b"never read")
            ear.channel.send({"padding": b"x" * 100_000}, [fd])
            os.close(fd)
        pair[1].close()
        await ear.until(lambda: ear.closed)
        assert ear.channel.closed
        ear.channel.send({"type": "dropped"})
        ear.channel.close()
        assert ear.closed == 1

    before = open_descriptors()
    asyncio.run(run())
    assert open_descriptors() == before - 2
