"""Calls to a child that nobody waits for any more."""

from __future__ import annotations

import asyncio
import socket

import pytest
from fake_loader import settle
from stage import run

from manager.child_process import ChildProcess
from ringserve.channel import AsyncChannel, Message


def test_a_call_that_is_given_up_leaves_nothing() -> None:
    """Else a child that hangs and is asked again and again takes ever more memory."""

    async def work() -> None:
        child = ChildProcess("child", ["none"])
        asked: list[Message] = []
        ours, theirs = socket.socketpair()
        child._channel = AsyncChannel(ours, child._on_message, lambda: None)
        other = AsyncChannel(theirs, lambda message, _: asked.append(message), lambda: None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.call({"type": "ask"}), 0.001)
        assert child._calls == {}
        again = asyncio.ensure_future(child.call({"type": "ask"}))
        while len(asked) < 2:
            await asyncio.sleep(0)
        for message in asked:  # the first one's comes too late
            other.send({"type": "answer", "call": message["call"], "number": message["call"]})
        assert (await again)["number"] == asked[1]["call"]
        await settle()
        assert child._calls == {}
        child._channel.close()
        other.close()
        child.doorbell.close()
        child.counters.close()

    run(work())
