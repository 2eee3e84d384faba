"""ZeroMQ load: sockets with many requests on their way, alone and several in a message, and every answer checked."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgpack

from end_to_end.waiting import wait_until
from end_to_end.zmq_client import Fields, ZmqClient

PATIENCE: Final = 30.0  # seconds; a request that takes longer counts as lost
_MOST_KEPT: Final = 20  # wrong answers that are told of
_MOST_IN_A_MESSAGE: Final = 20


class Question(NamedTuple):
    """A request without its id; `wrong` says what is wrong with its answer and frames, "" where nothing is."""

    kind: str
    fields: Fields
    wrong: Callable[[Fields, Sequence[bytes]], str]
    frames: Sequence[bytes] = ()


Asking = Callable[[random.Random], Question]


@dataclass
class Outcome:
    """What came of all requests so far."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)  # by the status' name
    texts: set[str] = field(default_factory=set)  # of those
    lost: int = 0
    late: int = 0  # answers of requests that counted as lost
    slowest: float = 0.0  # seconds
    by_kind: Counter[str] = field(default_factory=Counter)


class ZmqLoad:
    """From entering `with` until leaving it or `stop`: each socket has so many requests on their way at any time."""

    def __init__(
        self, addresses: Sequence[str], sockets: int, window: int, *questions: Asking, patience: float = PATIENCE
    ) -> None:
        self.outcome = Outcome()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._questions = questions
        self._window = window
        self._patience = patience
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(number, addresses[number % len(addresses)]), name=f"load {number}")
            for number in range(sockets)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_answers(len(self._threads) * self._window)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def stop(self) -> Outcome:
        """The last requests are waited for."""
        self.__exit__(None, None, None)
        return self.outcome

    def wait_for_answers(self, more: int, seconds: float = 30) -> None:
        """Until that many more requests than now are answered."""
        until = self.outcome.answered + more
        wait_until(
            lambda: self.outcome.answered >= until or self._failure is not None,
            seconds,
            lambda: f"{more} answers, {self.outcome}",
        )

    def _run(self, number: int, address: str) -> None:
        try:
            with ZmqClient(address, SNDHWM=0, RCVHWM=0, RECONNECT_IVL=50) as client:
                _Conversation(self, client, random.Random(number)).run()
        except BaseException as error:
            self._failure = error

    def count(self, question: Question, seconds: float, answer: Fields, frames: Sequence[bytes]) -> None:
        """An answer has come."""
        outcome = self.outcome
        wrong = "" if "error" in answer else question.wrong(answer, frames)
        with self._lock:
            outcome.slowest = max(outcome.slowest, seconds)
            outcome.answered += 1
            if "error" in answer:
                outcome.failed[answer["status"]] += 1
                outcome.texts.add(f"{question.kind}: {answer['error'][:200]}")
                return
            outcome.by_kind[question.kind] += 1
            if wrong and len(outcome.wrong) < _MOST_KEPT:
                outcome.wrong.append(f"{question.kind}: {wrong}")

    def complain(self, text: str) -> None:
        with self._lock:
            self.outcome.wrong.append(text)

    def note(self, lost: int = 0, late: int = 0) -> None:
        with self._lock:
            self.outcome.lost += lost
            self.outcome.late += late


class _Conversation:
    """One socket's, in a thread of its own."""

    def __init__(self, load: ZmqLoad, client: ZmqClient, chance: random.Random) -> None:
        self._load = load
        self._client = client
        self._chance = chance
        self._open: dict[bytes, tuple[Question, float]] = {}
        self._given_up: set[bytes] = set()
        self._last = 0

    def run(self) -> None:
        load = self._load
        while self._open or not load._stopping.is_set():
            if not load._stopping.is_set():
                self._fill(load._window)
            if self._client.socket.poll(100):
                while self._client.socket.poll(0):
                    self._take(self._client.socket.recv_multipart())
            self._give_up(load._patience)

    def _fill(self, window: int) -> None:
        while len(self._open) < window:
            several = self._chance.random() < 0.3
            count = self._chance.randint(1, min(_MOST_IN_A_MESSAGE, window - len(self._open))) if several else 1
            messages: list[Fields] = []
            frames: list[bytes] = []
            for _ in range(count):
                question = self._chance.choice(self._load._questions)(self._chance)
                if question.frames and messages:
                    break
                self._last += 1
                identifier = struct.pack(">Q", self._last)
                inputs = question.fields.get("inputs")
                before = {name: value for name, value in question.fields.items() if name != "inputs"}
                messages.append({**before, "id": identifier, **({"inputs": inputs} if inputs is not None else {})})
                self._open[identifier] = (question, time.monotonic())
                frames.extend(question.frames)
                if question.frames:
                    break
            self._client.send(messages if several else messages[0], *frames)

    def _take(self, parts: list[bytes]) -> None:
        message = msgpack.unpackb(parts[0], unicode_errors="surrogateescape")
        for answer in message if isinstance(message, list) else [message]:
            identifier = answer["id"]
            asked = self._open.pop(identifier, None)
            if asked is not None:
                self._load.count(asked[0], time.monotonic() - asked[1], answer, parts[1:])
            elif identifier in self._given_up:
                self._given_up.discard(identifier)
                self._load.note(late=1)
            else:
                self._load.complain(f"an answer that nobody waits for: {answer}")

    def _give_up(self, patience: float) -> None:
        now = time.monotonic()
        gone = [identifier for identifier, (_, began) in self._open.items() if now - began > patience]
        for identifier in gone:
            del self._open[identifier]
        self._given_up.update(gone)
        self._load.note(lost=len(gone))
