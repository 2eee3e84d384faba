"""A server that knows heads gives the answers that it would give if it parsed them all, however the bytes come."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given, note, settings
from odd_requests import CLIENTS, KINDS, USUAL, Answer, Burst, Hear, Late, Send, Stall, Step, Turns, any_steps, pieces, sized
from played_connection import NoHeads, PlayedServer, PlayedTransport, played_server
from worker_side import on_loop

from frontend.rest.known_heads import KnownHeads, body_length, plain_target

EXAMPLES: Final = int(os.environ.get("PIECES_EXAMPLES", "150"))


class Play:
    """Clients of one server."""

    def __init__(self, server: PlayedServer) -> None:
        self._server = server
        self._clients = [server.connect() for _ in range(CLIENTS)]
        self._unsent = [b""] * CLIENTS

    async def take(self, step: Step, number: int) -> None:
        """`number`: what its requests are about; those of bursts go on from there."""
        match step:
            case Send(client, kind, cuts, behind_head, glued):
                *most, last = pieces(KINDS[kind](number), cuts, behind_head)
                for piece in most:
                    self._give(client, piece)
                if glued:
                    self._unsent[client] += last
                else:
                    self._give(client, last)
            case Burst(client, count):
                for index in range(count):
                    self._give(client, KINDS["plain"](number + index))
            case Turns(count):
                for _ in range(count):
                    await asyncio.sleep(0)
            case Answer(count):
                self._server.answer(count)
            case Hear(client):
                await self._hear(self._clients[client])
            case Late(client):
                self._clients[client].late()
            case Stall(client, stalls):
                self._clients[client].stall(stalls)

    async def _hear(self, client: PlayedTransport) -> None:
        before = len(client.written)
        self._server.answer(1)
        for _ in range(8):
            if len(client.written) > before:
                return
            await asyncio.sleep(0)

    def _give(self, client: int, piece: bytes) -> None:
        """With what was kept back."""
        piece, self._unsent[client] = self._unsent[client] + piece, b""
        if piece:
            self._clients[client].give(piece)

    async def end(self) -> list[tuple[bytes, bool]]:
        """The bytes that each client got, and whether its connection was closed."""
        for index, client in enumerate(self._clients):
            self._give(index, b"")
            client.stall(False)
            await self._server.settle()
            client.late()
        await self._server.settle()
        return [(client.answers, client.is_closing()) for client in self._clients]


async def usual_answers(server: PlayedServer) -> bytes:
    """Of a client that sends all usual requests, whose heads are known then, if any are."""
    client = server.connect()
    await server.settle()
    for number, kind in enumerate(USUAL):
        client.give(KINDS[kind](number))
        await server.settle()
    return client.answers


def check(heads: KnownHeads) -> None:
    """Every head means what a parser says."""
    for head, known in heads._heads.items():
        parser = HttpRequestParser(BaseProtocol(asyncio.get_running_loop()), asyncio.get_running_loop(), 1 << 16)
        ((message, _),), _, _ = parser.feed_data(head)
        length = known.length
        assert (plain_target(message), message.headers, body_length(message)) == known
        assert not parser.feed_data(b" " * length)[0]
        assert len(parser.feed_data(KINDS["plain"](1))[0]) == 1, "a head without its end"


async def played(heads: KnownHeads, steps: Sequence[Step]) -> list[tuple[bytes, bool]]:
    async with played_server(heads) as server:
        usual = await usual_answers(server)
        play = Play(server)
        await server.settle()
        for number, step in enumerate(steps, 1):
            await play.take(step, 100 * number)
        answers = await play.end()
        assert await usual_answers(server) == usual, "heads of others mean something else"
        check(heads)
    return answers


async def compare(steps: Sequence[Step]) -> None:
    assert await played(KnownHeads(), steps) == await played(NoHeads(), steps)


def test_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.rest.held_request.HELD_SECONDS", 3600)  # the test says when it is late

    @settings(max_examples=EXAMPLES, deadline=None, derandomize="PIECES_EXAMPLES" not in os.environ)
    @given(any_steps)
    def in_any_pieces(steps: list[Step]) -> None:
        note(repr(steps))
        asyncio.run(asyncio.wait_for(compare(steps), 30))

    in_any_pieces()


@on_loop
async def test_requests_are_answered_in_their_order() -> None:
    """One comes between the answer of the first and the turn of the second, which was sent before and parsed already."""
    async with played_server(KnownHeads()) as server:
        client = server.connect()
        await server.settle()
        client.give(KINDS["plain"](1))
        await server.settle()
        began = len(client.answers)
        client.give(KINDS["plain"](2))
        client.give(KINDS["plain"](3))
        server.answer()
        while len(client.answers) == began:
            await asyncio.sleep(0)
        client.give(KINDS["plain"](4))
        await server.settle()
        assert [client.answers.count(b"[%d.0]" % value) for value in (2, 4, 6, 8)] == [1, 1, 1, 1]
        places = [client.answers.index(b"[%d.0]" % value) for value in (2, 4, 6, 8)]
        assert places == sorted(places)


@on_loop
async def test_pieces_do_not_lengthen_the_wait() -> None:
    """A body that comes byte by byte is held no longer than one that does not come."""
    async with played_server(KnownHeads()) as server:
        client = server.connect()
        await server.settle()
        data = KINDS["plain"](1) + b" " * (60 << 10)
        data = sized(data[data.index(b"{") :])
        client.give(data)
        await server.settle()
        at = len(data) - (60 << 10)
        client.give(data[:at])
        assert client.connection._held.data
        while client.connection._held.data:
            client.give(data[at : at + 1])
            at += 1
            await asyncio.sleep(0)
        assert at < len(data)
        client.give(data[at:])
        await server.settle()
        assert client.answers.count(b"[2.0]") == 2


@on_loop
async def test_a_good_request_before_a_bad_one() -> None:
    """Whose body was waited for, and what came with its end is no HTTP."""
    async with played_server(KnownHeads()) as server:
        client = server.connect()
        await server.settle()
        data = KINDS["plain"](1)
        client.give(data)
        await server.settle()
        client.give(data[:-5])
        client.give(data[-5:] + b"xxx")
        await server.settle()
        assert client.answers.count(b" 200 OK") == 2
        assert client.answers.count(b" 400 Bad Request") == 1
        assert client.is_closing()


@on_loop
async def test_a_body_is_not_taken_for_a_head() -> None:
    """A body's end that reads as another client's head, and a request behind it, where lines before a head may have hidden
    where that body ends.
    """
    heads = KnownHeads()
    async with played_server(heads) as server:
        client = server.connect()
        await server.settle()
        others = KINDS["json"](1)
        theirs = others[: others.index(b"\r\n\r\n") + 4]
        head = sized(b"", f"X-Long: {'x' * 200}").replace(b"Content-Length: 0", b"Content-Length: 900")
        content = b" " * (900 - len(head)) + theirs.ljust(len(head))
        data = b"\r\n\r\n" + head + content
        client.give(data[:904])
        await server.settle()
        client.give(data[904:] + sized(b" " * 900)[:-500])
        await server.settle()
        assert theirs not in heads._heads
        check(heads)
