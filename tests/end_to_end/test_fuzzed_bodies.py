"""Thousands of spoilt bodies of every kind: each is answered, soon, by the same processes, and nobody else notices."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_to_end import process_facts
from end_to_end.http_answer import LIMIT, Answer, answer_of
from end_to_end.load import Load, halves
from end_to_end.running_server import RunningServer
from end_to_end.spoilt_bodies import KINDS, MSGPACK, PROTOBUF, PredictRequest, Question, spoilt
from end_to_end.waiting import wait_until

EACH = 400  # bodies of a kind
SLOW = 5.0  # s; far more than any takes, on a machine with other things to do
MB = 1 << 20
#: What a client may be told of its body: never that the server is at fault, or busy.
ALLOWED = {200, 400, 404, 413, 501}


class Asking:
    """A client on one connection, which any answer must leave open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        self.slowest = 0.0

    def close(self) -> None:
        self._connection.close()

    def ask(self, question: Question) -> Answer:
        began = time.monotonic()
        self._connection.request("POST", question.path, question.body, question.headers)
        answer = answer_of(self._connection.getresponse())
        self.slowest = max(self.slowest, time.monotonic() - began)
        return answer


@pytest.fixture(scope="module")
def asking(catalogue: RunningServer) -> Iterator[Asking]:
    client = Asking(catalogue.port)
    yield client
    client.close()


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that has no key twice."""
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def check(answer: Answer) -> None:
    assert answer.status in ALLOWED, answer
    if answer.status != 200:
        assert answer.headers["content-type"] == "application/json"
        document = json.loads(answer.body, object_pairs_hook=once)
        assert list(document) == ["error"]
        assert isinstance(document["error"], str)
        assert document["error"]
    elif answer.headers["content-type"] == "application/json":
        # Strings of a model's are sent as they are, also where they are no UTF-8.
        document = json.loads(answer.body.decode("utf-8", "surrogateescape"), object_pairs_hook=once)
        assert list(document) in (["predictions"], ["outputs"], ["results"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_spoilt_was_right(asking: Asking, kind: str) -> None:
    """Otherwise the test below would try error paths only."""
    for question in KINDS[kind]:
        answer = asking.ask(question)
        assert answer.status == 200 or b"expected type" in answer.body, (question, answer)


def test_spoilt_bodies(catalogue: RunningServer, asking: Asking) -> None:
    processes = catalogue.processes()
    watched = [catalogue.process("frontend rest 0"), catalogue.process("worker cpu:0")]
    chance = random.Random(1)
    with Load(catalogue.port, 2, halves("half_plus_two", 3.0), halves("half_plus_two_2d", 2.0)) as load:
        for kind in KINDS:  # until all that is made once is there: lanes for other forms, imports, arenas
            for _ in range(EACH // 4):
                check(asking.ask(spoilt(chance, kind)))
        before = [process_facts.resident_bytes(pid) for pid in watched]
        for kind in KINDS:
            for number in range(EACH):
                question = spoilt(chance, kind)
                answer = asking.ask(question)
                try:
                    check(answer)
                except AssertionError as error:
                    raise AssertionError(f"{kind} {number}: {question}") from error
        after = [process_facts.resident_bytes(pid) for pid in watched]
        outcome = load.stop()
    assert asking.slowest < SLOW
    assert not outcome.wrong
    assert not outcome.dropped
    assert outcome.answered > 100
    assert catalogue.processes() == processes
    assert all(now < then + 64 * MB for then, now in zip(before, after, strict=True)), (before, after)
    wait_until(lambda: process_facts.requests_in_lanes(catalogue.pid) == 0, 10, "the lanes empty")
