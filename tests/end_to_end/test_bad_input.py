"""Bodies that are wrong, in every way: each gets an answer, and no other request notices."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_to_end.http_answer import Answer
from end_to_end.running_server import RunningServer
from end_to_end.test_binary_bodies import KINDS, X

# Requests that are right, of each format, to be spoilt in all ways.
SEEDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("half_plus_two", {"instances": [1.0, 2.0, 3.0]}),
    ("half_plus_two", {"signature_name": "serving_default", "inputs": {"x": [1.0, -2e3]}}),
    ("two_inputs", {"instances": [{"a": [1, 2, 3], "b": 4}, {"a": [5, 6, 7], "b": 8}]}),
    ("two_inputs", {"inputs": {"a": [[1, 2, 3]], "b": [4]}}),
    ("text", {"instances": ["a\u00e9", {"b64": "YWJj"}]}),
    ("identity", {"signature_name": "int8", "instances": [[1, 2], [3, 4]]}),
    ("identity", {"signature_name": "bool", "inputs": [[True, False]]}),
    ("dynamic_image", {"instances": [[[[1, 2, 3], [4, 5, 6]]]]}),
    ("scalar", {"inputs": 3.5}),
)
PIECES = (b"", b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"\0", b"\xff", b"null", b"1e999", b"NaN", b"-", b'"b64"')

#: What a client may be told of a body: never that the server is at fault.
ALLOWED = {200, 400, 501}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just({"b64": "YQ=="}),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "x", "b64", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)
keys = st.sampled_from(["instances", "inputs", "signature_name", "context"])


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bytes]:
    """A right request with some bytes replaced, put in, taken out or said twice."""
    model, document = draw(st.sampled_from(SEEDS))
    body = json.dumps(document).encode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(start + 8, len(body))))
        piece = draw(st.sampled_from([*PIECES, body[start:end] * 2]))
        body = body[:start] + piece + body[end:]
    return model, body


def check(answer: Answer) -> None:
    assert answer.status in ALLOWED, answer
    if answer.status == 200:
        assert list(answer.json) in (["predictions"], ["outputs"])
    else:
        assert answer.error


@settings(max_examples=300, deadline=None)
@given(request=spoilt())
def test_a_spoilt_request_is_answered(catalogue: RunningServer, request: tuple[str, bytes]) -> None:
    check(catalogue.predict(*request))


@st.composite
def spoilt_examples(draw: st.DrawFn) -> tuple[str, bytes]:
    """The same of classify and regress."""
    verb, signature = draw(st.sampled_from([("classify", "classify_x_to_y"), ("regress", "regress_x_to_y")]))
    features = draw(st.dictionaries(st.sampled_from(["x", "y", ""]), json_values, max_size=3))
    document = {"signature_name": signature, "context": features, "examples": [{"x": 2.0}, {"x": [1.0], **features}]}
    body = json.dumps(document).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.sampled_from(PIECES)) + body[at + draw(st.integers(0, 3)) :]
    return verb, body


@settings(max_examples=200, deadline=None)
@given(request=spoilt_examples())
def test_spoilt_examples_are_answered(catalogue: RunningServer, request: tuple[str, bytes]) -> None:
    verb, body = request
    answer = catalogue.ask("POST", f"/v1/models/default:{verb}", body)
    assert answer.status in (200, 400), answer
    assert list(answer.json) == ["results"] or answer.error


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_spoilt_binary_body_is_answered(catalogue: RunningServer, data: st.DataObject) -> None:
    """Lengths, shapes and types that lie, in every place where a body says one."""
    kind = data.draw(st.sampled_from(KINDS))
    body, headers = kind.write({"x": X})
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        piece = data.draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0" * 8]))
        body = body[:at] + piece + body[at + data.draw(st.sampled_from([0, len(piece)])) :]
    answer = catalogue.ask("POST", "/v1/models/default:predict", body, {"Content-Type": kind.content_type, **headers})
    assert answer.status in (200, 400, 404, 413), answer
    if answer.status == 200:
        assert answer.headers["content-type"] == kind.content_type
    else:
        assert answer.error


@settings(max_examples=300, deadline=None)
@given(model=st.sampled_from([model for model, _ in SEEDS]), document=st.dictionaries(keys, json_values))
def test_any_document_is_answered(catalogue: RunningServer, model: str, document: dict[str, Any]) -> None:
    check(catalogue.predict(model, json.dumps(document)))


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=64))
def test_any_bytes_are_answered(catalogue: RunningServer, body: bytes) -> None:
    """Some of them are a good request: those that are made up know what stands in the tests."""
    check(catalogue.predict("half_plus_two", body))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"   ", "JSON Parse error: The document is empty. at offset: 3"),
        (b"[1, 2]", "JSON Value: "),
        (b'{"instances": [1.0,', "JSON Parse error: "),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": [1], "inputs": [1]}', "JSON Value: "),
        (b'{"instances": []}', "JSON Value: "),
        (
            b'{"instances": ["one"]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: ",
        ),
        (
            b'{"instances": [1, [1]]}',
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape",
        ),
        (b'{"signature_name": 1, "instances": [1]}', "JSON Value: "),
    ],
)
def test_upstreams_texts(catalogue: RunningServer, body: bytes, text: str) -> None:
    answer = catalogue.predict("half_plus_two", body)
    assert answer.status == 400
    assert answer.error.startswith(text)


@pytest.mark.parametrize("depth", [50, 100, 500, 5000, 100_000])
@pytest.mark.parametrize("key", ["instances", "inputs", "ignored"])
def test_nesting_of_any_depth(catalogue: RunningServer, key: str, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    answer = catalogue.predict("half_plus_two", f'{{"{key}": {nested}, "instances": [2.0]}}')
    if key == "ignored":
        assert (answer.status, answer.json) == (200, {"predictions": [4.0]})
    else:
        check(answer)


def test_a_deep_tensor(catalogue: RunningServer) -> None:
    """More dimensions than anything can have, with one number at the bottom of them."""
    for depth in (32, 64, 65, 254, 255, 1000):
        check(catalogue.predict("half_plus_two", '{"instances": ' + "[" * depth + "1" + "]" * depth + "}"))


def test_wrong_requests_beside_right_ones(catalogue: RunningServer) -> None:
    chance = random.Random(0)
    for number in range(100):
        model, document = chance.choice(SEEDS)
        body = bytearray(json.dumps(document).encode())
        body[chance.randrange(len(body))] = chance.randrange(256)
        check(catalogue.predict(model, bytes(body)))
        right = catalogue.predict("half_plus_two", {"instances": [number]})
        assert right.json == {"predictions": [number / 2 + 3]}
