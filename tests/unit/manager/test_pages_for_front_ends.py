"""A front end asks for a page of metrics and gets that one."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest

from manager.frontend_process import FrontEndProcess
from ringserve.channel import Message


class FrontEnd(FrontEndProcess):
    """Without a process: notes what it is told."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__("rest", 0, [listener])
        self.told: list[Message] = []
        self._pages = {"clean": lambda: "ours", "upstream": lambda: "theirs"}

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        self.told.append(message)


@pytest.mark.parametrize(("page", "text"), [("clean", "ours"), ("upstream", "theirs")])
def test_a_page_that_is_asked_for(page: str, text: str) -> None:
    with socket.socket() as listener:
        frontend = FrontEnd(listener)
        frontend.handle({"type": "metrics", "call": 7, "page": page})
        assert frontend.told == [{"type": "told", "call": 7, "text": text}]
        frontend.counters.close()
        frontend.doorbell.close()
