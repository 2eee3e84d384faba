"""Results of classify and regress as JSON: labels, numbers that come back to the last bit, and NaN."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.rest.example_answer import encode_classification, encode_regression
from frontend.tensors import Array
from ringserve.classification import Classification
from ringserve.errors import Code, ServingError

FLOATS = st.floats(width=32)


def floats(*values: float) -> Array:
    return np.array(values, dtype="<f4")


def results(body: bytes) -> Any:
    answer = json.loads(body)
    assert list(answer) == ["results"]
    return answer["results"]


def classify(examples: int, classes: int, labels: list[bytes] | None, scores: Array | None) -> Any:
    return results(encode_classification(Classification(examples, classes, labels, scores)))


def as_floats(values: list[Any]) -> bytes:
    with np.errstate(over="raise"):
        return np.array(values, dtype="<f4").tobytes()


def test_pairs_of_label_and_score() -> None:
    labels = [b"a", b"b", b"b", b"c"]
    assert classify(2, 2, labels, floats(0.5, 1, 2, 4)) == [[["a", 0.5], ["b", 1.0]], [["b", 2.0], ["c", 4.0]]]
    assert classify(4, 1, labels, floats(0.5, 1, 2, 4)) == [[["a", 0.5]], [["b", 1.0]], [["b", 2.0]], [["c", 4.0]]]


def test_without_labels_or_scores() -> None:
    assert classify(1, 2, None, floats(3, 4)) == [[["", 3.0], ["", 4.0]]]
    assert classify(1, 2, [b"a", b"b"], None) == [[["a", 0.0], ["b", 0.0]]]
    assert b"0.0" in encode_classification(Classification(1, 1, [b"a"], None)), "a float"


def test_no_classes() -> None:
    assert classify(3, 0, [], floats()) == [[], [], []]
    assert classify(3, 0, None, floats()) == [[], [], []]


@pytest.mark.parametrize(
    ("label", "text"),
    [(b"\xff\xfe", "\ufffd\ufffd"), ("é\u2028".encode(), "é\u2028"), (b'"\\\n\0', '"\\\n\0'), (b"a\xe2\x82", "a\ufffd")],
)
def test_labels_of_any_bytes(label: bytes, text: str) -> None:
    assert classify(1, 1, [label], floats(1)) == [[[text, 1.0]]]
    assert classify(1, 1, [label], floats(math.inf)) == [[[text, math.inf]]]


def test_the_shortest_texts() -> None:
    values = floats(0.1, 3, 1 / 3, -0.0)
    assert encode_regression(values) == b'{"results":[0.1,3.0,0.33333334,-0.0]}'
    assert encode_classification(Classification(1, 1, [b"a"], floats(0.1))) == b'{"results":[[["a",0.1]]]}'


@given(st.lists(FLOATS, min_size=1, max_size=30), st.integers(1, 5))
def test_every_float_comes_back(values: list[float], classes: int) -> None:
    values = values * classes
    array = floats(*values)
    wanted = np.where(np.isnan(array), np.float32(math.nan), array).tobytes()
    assert as_floats(results(encode_regression(array))) == wanted
    pairs = [pair for row in classify(len(values) // classes, classes, None, array) for pair in row]
    assert as_floats([score for _, score in pairs]) == wanted
    assert {label for label, _ in pairs} == {""}


def test_bare_words_for_what_is_not_finite() -> None:
    body = encode_regression(floats(math.nan, math.inf, -math.inf, 0.1))
    assert body == b'{"results": [NaN, Infinity, -Infinity, 0.1]}'
    body = encode_classification(Classification(1, 2, [b"null", b"b"], floats(-math.inf, 0.1)))
    assert body == b'{"results": [[["null", -Infinity], ["b", 0.1]]]}'


def test_a_label_of_null_is_no_missing_number() -> None:
    assert encode_classification(Classification(1, 1, [b"null"], floats(1))) == b'{"results":[[["null",1.0]]]}'


def test_numbers_that_do_not_lie_side_by_side() -> None:
    array = np.arange(20, dtype="<f4").reshape(10, 2)[:, 1]
    assert results(encode_regression(array)) == list(range(1, 20, 2))
    assert classify(10, 1, None, array) == [[["", float(value)]] for value in range(1, 20, 2)]


def test_no_results() -> None:
    with pytest.raises(ServingError, match=r"Cannot convert empty ClassificationResults to JSON$") as caught:
        encode_classification(Classification(0, 2, None, floats()))
    assert caught.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(ServingError, match=r"Cannot convert empty RegressionResults to JSON$") as caught:
        encode_regression(floats())
    assert caught.value.code is Code.INVALID_ARGUMENT
