"""A front end asks for a page of metrics, or for what is known of batching, and gets it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence

import pytest
from fake_loader import settle
from stage import run

from manager.frontend_process import FrontEndProcess
from ringserve.channel import Message


class FrontEnd(FrontEndProcess):
    """Without a process: notes what it is told."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__("rest", 0, [listener])
        self.told: list[Message] = []
        self.gate = asyncio.Event()
        self._pages = {"clean": lambda: "ours", "upstream": lambda: "theirs"}
        self._batching = self._explained

    async def _explained(self) -> str:
        await self.gate.wait()
        return "{}"

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        self.told.append(message)


@pytest.fixture
def frontend() -> Iterator[FrontEnd]:
    with socket.socket() as listener:
        frontend = FrontEnd(listener)
        yield frontend
        frontend.counters.close()
        frontend.doorbell.close()


@pytest.mark.parametrize(("page", "text"), [("clean", "ours"), ("upstream", "theirs")])
def test_a_page_that_is_asked_for(frontend: FrontEnd, page: str, text: str) -> None:
    frontend.handle({"type": "metrics", "call": 7, "page": page})
    assert frontend.told == [{"type": "told", "call": 7, "text": text}]


def test_batching_is_told_when_it_is_known(frontend: FrontEnd) -> None:
    async def work() -> None:
        frontend.handle({"type": "batching", "call": 7})
        frontend.handle({"type": "metrics", "call": 8, "page": "clean"})
        await settle()
        assert [message["call"] for message in frontend.told] == [8], "nobody waits for it meanwhile"
        frontend.gate.set()
        await settle()
        assert frontend.told[1:] == [{"type": "told", "call": 7, "text": "{}"}]

    run(work())


def test_a_new_process_is_not_told_what_the_one_before_asked(frontend: FrontEnd) -> None:
    async def work() -> None:
        frontend.handle({"type": "batching", "call": 7})
        await settle()
        frontend.pid += 1
        frontend.gate.set()
        await settle()
        assert frontend.told == []

    run(work())
