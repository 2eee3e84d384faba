"""A worker that still boots: what it can be asked before it can do anything."""

from __future__ import annotations

import socket

import pytest

from ringserve.channel import Channel
from ringserve.options import ServerOptions
from shm.doorbell import Doorbell
from workers.platforms import Platforms
from workers.worker import Worker

LIMIT = 20.0


def test_it_holds_nothing_that_could_be_unloaded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The process before it held the version: whoever wants it unloaded can't know which one will hear of it."""

    def make_platforms() -> Platforms:
        raise AssertionError("it is not that far")

    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(Channel(theirs), Doorbell.create(), ServerOptions(), make_platforms)
        monkeypatch.setattr(worker._loop, "post", lambda command: command())
        worker._on_unload({"type": "unload", "call": 7, "servable": ["m", 1]}, [])
        ((message, _),) = Channel(ours).receive(LIMIT)
    assert message == {"type": "answer", "call": 7}
    assert caplog.text == ""
