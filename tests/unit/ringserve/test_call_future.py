"""Futures of calls: what they hold on to, and for how long."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from answering_server import singles
from played_transport import PlayedTransport, half, prediction

from ringserve.client.call_future import CallFuture, call_started
from ringserve.client.operations import Predict
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME

ASKED = Predict(("half", None, None), "", {"x": (BY_NAME["float"], (1,), singles([1]))})
Y = prediction(y=singles([2.5]))


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def started(transport: PlayedTransport) -> CallFuture[Any]:
    future: CallFuture[Any] = CallFuture()
    future.start(transport, ASKED, 20)
    return future


@pytest.mark.parametrize("way", ["answered", "failed", "cancelled", "at once"])
def test_a_future_that_is_over_waits_for_no_collector(way: str) -> None:
    """Else whatever was answered would stay in memory until then."""
    transport = PlayedTransport(half if way == "at once" else None)
    future = started(transport)
    if way != "at once":
        [asked] = transport.next()
        if way == "cancelled":
            future.cancel()
            assert asked.is_cancelled
        else:
            asked.done(Y if way == "answered" else ServingError(Code.NOT_FOUND, "none"))
        del asked
    known = weakref.ref(future)
    del future
    assert known() is None


def test_cancelled_before_there_is_a_call_to_cancel() -> None:
    future: CallFuture[Any] = CallFuture()
    ended: list[int] = []

    class Slow(PlayedTransport):
        def start(self, operation: Any, timeout: float | None, done: Any) -> Any:
            future.cancel()
            return lambda: ended.append(1)

    future.start(Slow(), ASKED, 20)
    assert future.cancelled() and ended == [1]


def test_whoever_waits_and_is_interrupted_ends_the_call() -> None:
    transport = PlayedTransport()
    with pytest.MonkeyPatch.context() as patch:

        def interrupted(self: Any, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

        patch.setattr(CallFuture, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call_started(transport, ASKED, 20)
    assert transport.next()[0].is_cancelled
