"""Classify and regress bodies: order of checks, the signature, what is fed, and the answer."""

from __future__ import annotations

import gc
import json
from typing import Any

import numpy as np
import pytest
from example_messages import example, features
from made_outputs import classify_signature, numbers, regress_signature, tensor_spec, texts

from frontend.endpoint import TooLargeError
from frontend.request_body import RequestBody
from frontend.rest.example_body import ClassifyBody, RegressBody
from frontend.rest.json_dump import dump
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.tensor import STRING

MOST = 1 << 20
MODEL = ServableId("m", 1)
ONE = {"examples": [{"x": 2.0}]}
Body = type[ClassifyBody | RegressBody]
BODIES: list[Body] = [ClassifyBody, RegressBody]


def read(kind: Body, document: Any, check_method: bool = False) -> RequestBody:
    return kind(json.dumps(document).encode(), check_method, MOST)


def refusal(kind: Body, document: Any, *signatures: Signature, check_method: bool = False) -> str:
    with pytest.raises(ServingError) as caught:
        read(kind, document, check_method).signature({one.name: one for one in signatures})
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_that_are_refused_before_any_model_is_asked(kind: Body) -> None:
    with pytest.raises(ServingError, match=r"JSON Parse error: The document is empty$"):
        kind(b"", False, MOST)
    with pytest.raises(ServingError, match=r"JSON Value: \[\] Is not object$"):
        kind(b"[]", False, MOST)
    text = "not formatted correctly. 'signature_name' key must be a string value."
    for name in (1, None, ["a"]):
        document: dict[str, Any] = {"signature_name": name, "examples": 2}
        assert refusal(kind, document) == f"JSON Value: {dump(document)} {text}"
    document = {"signature_name": "s", "other": 1}
    text = "When method is classify, key 'examples' is expected and was not found"
    assert refusal(kind, document) == f"JSON Value: {dump(document)} {text}"
    assert refusal(kind, {"examples": [{"x": None}]}) == "Feature: x has element with unexpected JSON type: Null"


@pytest.mark.parametrize("kind", BODIES)
def test_a_context_that_makes_too_much(kind: Body) -> None:
    with pytest.raises(TooLargeError) as caught:
        read(kind, {"context": {"x": "y" * 1000}, "examples": [{}] * 2000})
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("given", ["absent", "", DEFAULT_SIGNATURE])
def test_the_default_signature(given: str) -> None:
    document = ONE if given == "absent" else {"signature_name": given, **ONE}
    classify = classify_signature("scores", name=DEFAULT_SIGNATURE)
    assert read(ClassifyBody, document).signature({DEFAULT_SIGNATURE: classify}) is classify
    regress = regress_signature(DEFAULT_SIGNATURE)
    assert read(RegressBody, document).signature({DEFAULT_SIGNATURE: regress}) is regress
    for kind in BODIES:
        assert refusal(kind, document) == "No signature was found with the name: serving_default"


def test_a_signature_by_name() -> None:
    classify, regress = classify_signature("classes", "scores"), regress_signature()
    both = {one.name: one for one in (classify, regress)}
    assert read(ClassifyBody, {"signature_name": "classify", **ONE}).signature(both) is classify
    assert read(RegressBody, {"signature_name": "regress", **ONE}).signature(both) is regress
    named = {"signature_name": "nope", **ONE}
    for kind in BODIES:
        assert refusal(kind, named, classify, regress) == "No signature was found with the name: nope"
    assert refusal(RegressBody, {"signature_name": "classify", **ONE}, classify) == "Expected one output Tensor."


def test_method_names_count_only_with_the_flag() -> None:
    classify, regress = classify_signature("scores", method="odd"), regress_signature(method="odd")
    asked = {"signature_name": "classify", **ONE}
    assert read(ClassifyBody, asked).signature({"classify": classify}) is classify
    text = "Expected classification signature method_name to be tensorflow/serving/classify. Was: odd"
    assert refusal(ClassifyBody, asked, classify, check_method=True) == text
    asked = {"signature_name": "regress", **ONE}
    assert read(RegressBody, asked).signature({"regress": regress}) is regress
    text = "Expected regression signature method_name to be tensorflow/serving/regress. Was: odd"
    assert refusal(RegressBody, asked, regress, check_method=True) == text


@pytest.mark.parametrize("kind", BODIES)
def test_one_serialised_example_a_row(kind: Body) -> None:
    body = read(kind, {"context": {"z": 1}, "examples": [{"x": 2.0}, {"z": "own"}]})
    (tensor,) = body.inputs(regress_signature())
    assert (tensor.dtype, tensor.shape) == (STRING, (2,))
    assert isinstance(tensor.data, list)
    assert tensor.data[0] == (example(z=[1]).SerializeToString() + example(x=[2.0]).SerializeToString())
    assert [features(row) for row in tensor.data] == [
        {"z": ("int64_list", [1]), "x": ("float_list", [2.0])},
        {"z": ("bytes_list", [b"own"])},
    ]


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("dtype", ["float", "int64", "double"])
def test_an_input_that_takes_no_strings(kind: Body, dtype: str) -> None:
    made = regress_signature()
    signature = Signature("s", "", (tensor_spec("inputs", dtype),), made.outputs)
    with pytest.raises(ServingError) as caught:
        read(kind, ONE).inputs(signature)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == f"Expects arg[0] to be {dtype} but string is provided"


def test_answers() -> None:
    two = {"examples": [{"x": 2.0}, {}]}
    signature = classify_signature("classes", "scores")
    outputs = [texts((2, 1), b"a", b"\xff"), numbers([[0.5], [np.inf]])]
    body, content_type, headers, _ = read(ClassifyBody, two).encode(MODEL, signature, outputs)
    assert json.loads(body) == {"results": [[["a", 0.5]], [["\ufffd", np.inf]]]}
    assert (content_type, headers) == ("application/json", ())
    body, content_type, headers, _ = read(RegressBody, two).encode(MODEL, regress_signature(), [numbers([1.5, 2.5])])
    assert json.loads(body) == {"results": [1.5, 2.5]}
    assert (content_type, headers) == ("application/json", ())


def test_examples_are_forgotten_while_the_request_waits() -> None:
    body = read(ClassifyBody, ONE)
    signature = classify_signature("scores")
    (tensor,) = body.inputs(signature)
    assert isinstance(tensor.data, list)
    assert not any(tensor.data is kept for kept in gc.get_referents(body, *gc.get_referents(body)))
    answer = body.encode(MODEL, signature, [numbers([[0.5]])])
    assert json.loads(answer.body) == {"results": [[["", 0.5]]]}


def test_outputs_are_held_against_the_number_of_examples() -> None:
    with pytest.raises(ServingError, match=r"Expected scores output batch size of 1. Got: 2$"):
        read(ClassifyBody, ONE).encode(MODEL, classify_signature("scores"), [numbers([[1.0], [2.0]])])
    with pytest.raises(ServingError, match=r"Input batch size did not match output batch size: 1 vs. 2$"):
        read(RegressBody, ONE).encode(MODEL, regress_signature(), [numbers([1.0, 2.0])])
