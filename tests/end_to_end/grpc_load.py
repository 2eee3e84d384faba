"""gRPC load: calls that follow each other on many connections, and whose every answer is checked."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc

from end_to_end.waiting import wait_until

PATIENCE: Final = 30.0  # seconds; a call that takes longer counts as failed
#: A connection for each channel, one that is made again soon, and messages of any size.
OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_MOST_KEPT: Final = 20  # wrong answers that are told of


class Question(NamedTuple):
    """A call; `wrong` says what is wrong with the message that answers it, "" where nothing is."""

    kind: str
    method: str
    request: bytes
    wrong: Callable[[bytes], str]


Asking = Callable[[random.Random], Question]


def channel_to(target: int | str, *options: tuple[str, int | str]) -> Any:
    """To a port of this machine, or to an address in gRPC's words."""
    address = f"localhost:{target}" if isinstance(target, int) else target
    return grpc.insecure_channel(address, [*OPTIONS, *options])


@dataclass
class Outcome:
    """What came of all calls so far."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)  # by the status' name
    texts: set[str] = field(default_factory=set)  # of those
    slowest: float = 0.0  # seconds, failed calls included
    by_kind: Counter[str] = field(default_factory=Counter)


class GrpcLoad:
    """From entering `with` until leaving it or `stop`: on each channel so many calls are on their way at any time.

    A call waits for a connection where there is none, so a server that is away fails only what it had begun.
    """

    def __init__(self, target: int | str, channels: int, calls: int, *questions: Asking, channel: Any = channel_to) -> None:
        """`channel`: makes one to the target."""
        self.outcome = Outcome()
        self._questions: Sequence[Asking] = questions
        self._channels = [channel(target) for _ in range(channels)]
        self._calls = calls
        self._lock = threading.Lock()
        self._stopping = False
        self._open = 0

    def __enter__(self) -> Self:
        for number, channel in enumerate(self._channels):
            lane = _Channel(channel, random.Random(number))
            for _ in range(self._calls):
                self._open += 1
                self._ask(lane)
        self.wait_for_answers(self._open)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping = True
        try:
            if error is None:
                wait_until(lambda: not self._open, PATIENCE + 5, lambda: f"every call to end, {self._open} have not")
        finally:
            for channel in self._channels:
                channel.close()

    def stop(self) -> Outcome:
        """The last calls are waited for."""
        self.__exit__(None, None, None)
        return self.outcome

    def abandon(self) -> None:
        """Of a server that is gone: what waits for a connection is given up, and counted as cancelled."""
        self._stopping = True
        for channel in self._channels:
            channel.close()

    def wait_for_answers(self, more: int, seconds: float = 30) -> None:
        """Until that many more calls than now are answered."""
        until = self.outcome.answered + more
        wait_until(lambda: self.outcome.answered >= until, seconds, lambda: f"{more} answers, {self.outcome}")

    def _ask(self, lane: _Channel) -> None:
        question = lane.chance.choice(self._questions)(lane.chance)
        began = time.monotonic()
        try:
            call = lane.method(question.method).future(question.request, timeout=PATIENCE, wait_for_ready=True)
        except ValueError:  # the channel is closed: somebody has given up
            self._open -= 1
            return
        call.add_done_callback(partial(self._ended, lane, question, began))

    def _ended(self, lane: _Channel, question: Question, began: float, call: Any) -> None:
        """In a thread of the channel's."""
        try:
            self._count(question, time.monotonic() - began, call)
        except Exception as error:
            self.outcome.wrong.append(f"{question.kind}: {error!r}")
        if not self._stopping:
            self._ask(lane)
        else:
            with self._lock:
                self._open -= 1

    def _count(self, question: Question, seconds: float, call: Any) -> None:
        code = call.code()
        wrong = question.wrong(call.result()) if code is grpc.StatusCode.OK else ""
        outcome = self.outcome
        with self._lock:
            outcome.slowest = max(outcome.slowest, seconds)
            if code is not grpc.StatusCode.OK:
                outcome.failed[code.name] += 1
                outcome.texts.add(f"{question.kind}: {code.name} {call.details()}")
                return
            outcome.answered += 1
            outcome.by_kind[question.kind] += 1
            if wrong and len(outcome.wrong) < _MOST_KEPT:
                outcome.wrong.append(f"{question.kind}: {wrong}")


class _Channel:
    """With its methods, and the chance that its questions are made by."""

    def __init__(self, channel: Any, chance: random.Random) -> None:
        self._channel = channel
        self._methods: dict[str, Any] = {}
        self.chance = chance

    def method(self, name: str) -> Any:
        known = self._methods.get(name)
        if known is None:
            known = self._methods[name] = self._channel.unary_unary(name)
        return known
