"""Classify and regress bodies run by upstream's own test models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tf_runs import make_engine

from frontend.rest.example_body import ClassifyBody, RegressBody
from frontend.tensors import unpacked
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from workers.engine import LoadedVersion

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module", params=["saved_model_half_plus_two_cpu", "saved_model_half_plus_two_tf2_cpu"])
def half_plus_two(request: pytest.FixtureRequest) -> Iterator[LoadedVersion]:
    version = make_engine().load(str(DATA / request.param / "00000123"))
    yield version
    version.unload()


def ask(kind: type[ClassifyBody | RegressBody], version: LoadedVersion, signature: str, document: str) -> Any:
    body = kind(f'{{"signature_name": "{signature}", {document}}}'.encode(), False, 1 << 20)
    found = body.signature(version.signatures)
    tensors = [tensor.packed() for tensor in body.inputs(found)]
    with version.run(found.name, tensors, False) as answers:
        outputs = [unpacked(answer) for answer in answers]
        return json.loads(body.encode(ServableId("m", 123), found, outputs).body)


def refusal(kind: type[ClassifyBody | RegressBody], version: LoadedVersion, signature: str, document: str) -> str:
    with pytest.raises(ServingError) as caught:
        ask(kind, version, signature, document)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_upstreams_own_examples(half_plus_two: LoadedVersion) -> None:
    one = '"examples": [{"x": 2.0}]'
    assert ask(ClassifyBody, half_plus_two, "classify_x_to_y", one) == {"results": [[["", 3.0]]]}
    assert ask(RegressBody, half_plus_two, "regress_x_to_y", one) == {"results": [3.0]}


def test_several_examples_with_context(half_plus_two: LoadedVersion) -> None:
    body = '"context": {"x": 2.0, "unknown": "y"}, "examples": [{}, {"x": [4.0]}, {"x2": 1.0, "x": Infinity}]'
    assert ask(RegressBody, half_plus_two, "regress_x_to_y", body) == {"results": [3.0, 4.0, float("inf")]}
    assert ask(ClassifyBody, half_plus_two, "classify_x_to_y", body) == {
        "results": [[["", 3.0]], [["", 4.0]], [["", float("inf")]]]
    }


def test_features_that_the_model_does_not_take(half_plus_two: LoadedVersion) -> None:
    text = refusal(RegressBody, half_plus_two, "regress_x_to_y", '"examples": [{"x": 2}]')
    assert "Data types don't match. Data type: int64 but expected type: float" in text
    text = refusal(ClassifyBody, half_plus_two, "classify_x_to_y", '"examples": [{}]')
    assert "Feature: x (data type: float) is required but could not be found." in text
    text = refusal(RegressBody, half_plus_two, "regress_x_to_y", '"examples": [{"x": [1.0, 2.0]}]')
    assert "Number of float values != expected.  Values size: 2 but output shape: [1]" in text
    text = refusal(ClassifyBody, half_plus_two, "classify_x_to_y", '"examples": [{"x": []}]')
    assert "Feature: x (data type: float) is required but could not be found." in text


def test_an_input_of_numbers(half_plus_two: LoadedVersion) -> None:
    text = refusal(RegressBody, half_plus_two, "regress_x2_to_y3", '"examples": [{"x": 2.0}]')
    assert text == "Expects arg[0] to be float but string is provided"


def test_the_default_signature_is_one_of_predict(half_plus_two: LoadedVersion) -> None:
    text = refusal(ClassifyBody, half_plus_two, "", '"examples": [{"x": 2.0}]')
    assert text.startswith('No classification inputs found in SignatureDef: inputs {\n  key: "x"\n')
    text = refusal(RegressBody, half_plus_two, "", '"examples": [{"x": 2.0}]')
    assert text.startswith('No regression inputs found in SignatureDef: inputs {\n  key: "x"\n')
