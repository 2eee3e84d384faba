"""Thousands of spoilt bodies of every kind: each is answered, soon, by the same processes, and nobody else notices."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_to_end import process_facts
from end_to_end.http_answer import LIMIT, Answer, answer_of
from end_to_end.load import Load, halves
from end_to_end.running_server import RunningServer
from end_to_end.spoilt_bodies import KINDS, MSGPACK, NPY, Question, spoilt
from end_to_end.waiting import wait_until

EACH = 1000  # bodies of a kind
SLOW = 5.0  # s; far more than any takes, on a machine with other things to do
MB = 1 << 20
#: What a client may be told of its body: never that the server is at fault, or busy.
ALLOWED = {200, 400, 404, 413, 501}

scalars = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=4)
values = st.recursive(
    scalars | st.binary(max_size=9) | st.sampled_from(["x", "a", "float", "string", "serving_default"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=15,
)
dims = st.lists(st.integers(-1, 4) | st.sampled_from([1 << 31, 1 << 32, 1 << 62, 1 << 63]), max_size=5)
tensors = st.tuples(st.sampled_from(["x", "a", ""]), st.sampled_from(["float", "string", "int32", "?"]), dims, values)
messages = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3) | values},
    optional={name: values for name in ("outputs", "signature", "model", "version", "label", "timeout_ms", "id", "v")},
)
features = st.dictionaries(
    st.sampled_from(["x", "", "b64"]), scalars | st.lists(scalars | st.just({"b64": "YQ=="}), max_size=3)
)
examples = st.fixed_dictionaries(
    {"examples": st.lists(features | scalars, max_size=3) | scalars},
    optional={"context": features | scalars, "signature_name": st.sampled_from(["regress_x_to_y", "classify_x_to_y", "?"])},
)


class Asking:
    """A client on one connection, which any answer leaves open that does not say otherwise."""

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
        assert answer.status == 200, (question, answer)


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


@settings(max_examples=400, deadline=None, derandomize=True)
@given(model=st.sampled_from(["half_plus_two", "text", "two_inputs"]), message=messages)
def test_any_message(asking: Asking, model: str, message: dict[str, Any]) -> None:
    check(asking.ask(Question(f"/v1/models/{model}:predict", MSGPACK, msgpack.packb(message))))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(method=st.sampled_from(["classify", "regress"]), document=examples)
def test_any_examples(asking: Asking, method: str, document: dict[str, Any]) -> None:
    check(asking.ask(Question(f"/v1/models/default:{method}", {}, json.dumps(document).encode())))


@pytest.mark.parametrize("shape", ["1,2,0,268435456", "268435456,2,0,3", "4294967296,0,1,3", "0,0,0,4611686018427387903"])
@pytest.mark.parametrize("kind", ["npy", "raw", "msgpack"])
def test_a_tensor_of_nothing_that_is_huge(catalogue: RunningServer, asking: Asking, kind: str, shape: str) -> None:
    """No byte is sent, and the model would answer with gigabytes: that is refused before it runs."""
    sizes = [int(size) for size in shape.split(",")]
    raw = {"Content-Type": "application/octet-stream", "X-Ringserve-Dtype": "float", "X-Ringserve-Shape": shape}
    headers, body = {
        "raw": (raw, b""),
        "msgpack": (MSGPACK, msgpack.packb({"inputs": [["x", "float", sizes, b""]]})),
        "npy": (NPY, npy_header(shape)),
    }[kind]
    worker = catalogue.process("worker cpu:0")
    before = process_facts.resident_bytes(worker)
    answer = asking.ask(Question("/v1/models/dynamic_image:predict", headers, body))
    assert answer.status in (400, 413), answer
    assert answer.error
    assert process_facts.resident_bytes(worker) < before + 64 * MB


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
