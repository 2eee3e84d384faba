"""Questions about models and their answers, as MessagePack maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from ringserve.client import fact_answers
from ringserve.client.answers import Class, VersionState
from ringserve.client.operations import Classify, MetadataOf, Models, Ready, Regress, Status
from ringserve.errors import Code, ServingError
from ringserve.servable import State
from ringserve.signature import TensorSpec
from ringserve.tensor import BY_NAME

SOURCE = {"v": 1, "id": b"i", "model": "half", "version": 3, "signature": "s"}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Status("half"), {"call": "status", "model": "half"}),
        (Status("half", 0), {"call": "status", "model": "half", "version": 0}),
        (MetadataOf(("half", None, "stable")), {"call": "metadata", "model": "half", "label": "stable"}),
        (MetadataOf(("half", 3, None)), {"call": "metadata", "model": "half", "version": 3}),
        (Models(), {"call": "models"}),
        (Ready(), {"call": "health"}),
        (Ready("half"), {"call": "health", "model": "half"}),
    ],
)
def test_questions(operation: Any, expected: dict[str, Any]) -> None:
    assert fact_answers.question(operation, b"i") == {"v": 1, "id": b"i", **expected}


def test_questions_of_examples() -> None:
    asked = fact_answers.example_question(Classify(("half", 3, None), "sig", (b"1", b"2"), b"c", "key"), b"i", 2.0)
    expected = {
        "v": 1,
        "call": "classify",
        "model": "half",
        "version": 3,
        "signature": "sig",
        "timeout_ms": 2000,
        "key": "key",
    }
    assert msgpack.unpackb(msgpack.packb(asked)) == {**expected, "id": b"i", "context": b"c", "examples": [b"1", b"2"]}
    asked = fact_answers.example_question(Regress(("half", None, None), "", ()), b"i", None)
    assert asked == {"v": 1, "call": "regress", "model": "half", "id": b"i", "examples": ()}


def test_classifications_and_regressions() -> None:
    classes = fact_answers.classification_of({**SOURCE, "rows": [[["a", 0.5], [b"b\xff", 1]], []]})
    assert classes == [[Class("a", 0.5), Class("b\ufffd", 1.0)], []]
    assert classes.source == ("half", 3, "s")
    values = fact_answers.regression_of({**SOURCE, "values": [1.5, 2]})
    assert values == [1.5, 2.0] and values.source == ("half", 3, "s")


def test_states() -> None:
    versions = [
        {"version": 3, "state": 30, "code": 0, "error": ""},
        {"version": 2, "state": 77, "code": 99, "error": "odd"},
        {"version": 1, "state": 50},
    ]
    assert fact_answers.version_states_of({"versions": versions}) == [
        VersionState(3, State.AVAILABLE, Code.OK, ""),
        VersionState(2, State.UNKNOWN, Code.UNKNOWN, "odd"),
        VersionState(1, State.END, Code.OK, ""),
    ]


def test_metadata() -> None:
    inputs = {"b": ["b:0", 1, [-1, 4]], "a": ["a:0", 7, None]}
    signatures = {"serving_default": {"method": "predict", "inputs": inputs, "outputs": {"y": ["y:0", 109, []]}}}
    metadata = fact_answers.metadata_of({"model": "half", "version": 3, "signatures": signatures})
    assert (metadata.model, metadata.version) == ("half", 3)
    signature = metadata.signatures["serving_default"]
    assert (signature.name, signature.method) == ("serving_default", "predict")
    assert signature.inputs == (
        TensorSpec("a", "a:0", BY_NAME["string"], None),
        TensorSpec("b", "b:0", BY_NAME["float"], (-1, 4)),
    )
    assert signature.outputs == (TensorSpec("y", "y:0", BY_NAME["int64"], ()),)


def test_models_and_health() -> None:
    assert fact_answers.models_of({"models": ["a", "b"]}) == ["a", "b"]
    assert fact_answers.ready_of({"ready": True}) is True


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (fact_answers.classification_of, {**SOURCE}),
        (fact_answers.classification_of, {**SOURCE, "rows": [1]}),
        (fact_answers.classification_of, {**SOURCE, "rows": [[["a"]]]}),
        (fact_answers.classification_of, {**SOURCE, "rows": [[["a", "b"]]]}),
        (fact_answers.classification_of, {**SOURCE, "rows": [[[1, 1.0]]]}),
        (fact_answers.classification_of, {"rows": []}),
        (fact_answers.regression_of, {**SOURCE, "values": 3}),
        (fact_answers.regression_of, {**SOURCE, "values": [True]}),
        (fact_answers.version_states_of, {"versions": [3]}),
        (fact_answers.version_states_of, {"versions": [{"version": 3}]}),
        (fact_answers.version_states_of, {"versions": [{"version": 3, "state": 30, "error": 4}]}),
        (fact_answers.metadata_of, {"model": "m", "version": 1}),
        (fact_answers.metadata_of, {"model": "m", "version": 1, "signatures": {"s": {}}}),
        (fact_answers.metadata_of, {"model": "m", "version": 1, "signatures": {"s": {"inputs": {b"a": []}, "outputs": {}}}}),
        (fact_answers.metadata_of, {"model": "m", "version": 1, "signatures": {"s": {"inputs": {"a": [1]}, "outputs": {}}}}),
        (fact_answers.metadata_of, {"model": "m", "version": "1", "signatures": {}}),
        (fact_answers.models_of, {"models": [1]}),
        (fact_answers.models_of, {}),
        (fact_answers.ready_of, {"ready": 1}),
    ],
)
def test_damaged_answers(read: Callable[[dict[str, Any]], Any], answer: dict[str, Any]) -> None:
    with pytest.raises(ServingError, match="The server's answer can't be read") as caught:
        read(answer)
    assert caught.value.code is Code.INTERNAL
