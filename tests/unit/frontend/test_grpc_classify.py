"""Classify over gRPC: each check with its text, what is fed, and the answer's bytes."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import numpy as np
import pytest
from example_messages import example, features
from example_requests import (
    ONE,
    ClassificationRequest,
    ClassificationResponse,
    answer,
    message,
    open_lane,
    request,
    serve,
)
from front_end_stage import Stage, stage, until
from hypothesis import given
from hypothesis import strategies as st
from made_outputs import classify_signature, numbers, tensor_spec, texts
from worker_side import on_loop

from frontend.bodies.body_options import BodyOptions
from frontend.call import Call
from frontend.catalog import ModelSpec
from frontend.grpc import example_answer
from frontend.grpc.example_answer import classification_result
from frontend.grpc.example_bodies import ClassifyBody
from frontend.request_body import RequestBody
from frontend.tensors import Tensor
from ringserve.classification import Classification
from ringserve.errors import Code, ServingError
from ringserve.predict_request import CLASSIFY
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.signature_text import signature_text
from ringserve.tensor import STRING

MODEL = ServableId("m", 7)
BOTH = classify_signature("classes", "scores")
PLAIN = BodyOptions()
CHECKED = BodyOptions(check_method=True)
ClassificationResult = message("classification", "ClassificationResult")


def body(*examples: Any, options: BodyOptions = PLAIN, **fields: Any) -> ClassifyBody:
    return ClassifyBody(request(ClassificationRequest, *(examples or (ONE,)), **fields), options)


def refused(made: Any) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        made()
    return caught.value.code, caught.value.message


def invalid(made: Any) -> str:
    code, text = refused(made)
    assert code is Code.INVALID_ARGUMENT
    return text


def strange(inputs: str = "inputs", outputs: str = "scores", method: str = CLASSIFY, dtype: str = "string") -> Signature:
    """Not all of them can be classified with."""
    fed = tuple(tensor_spec(alias, dtype) for alias in inputs.split())
    return Signature("s", method, fed, tuple(tensor_spec(alias, "float") for alias in outputs.split()))


# Which version.


def test_the_version_that_is_asked_for() -> None:
    assert body().spec == ModelSpec("m")
    assert body(version=0).spec == ModelSpec("m", 0)
    assert body(version=3).spec == ModelSpec("m", 3)
    assert body(label="l").spec == ModelSpec("m", label="l")


def test_messages_that_name_no_model() -> None:
    assert invalid(lambda: ClassifyBody(b"", PLAIN)) == "Missing ModelSpec"
    assert invalid(lambda: body(name="", signature="s")) == "ModelSpec has no name specified."


@pytest.mark.parametrize("bad", [b"\xff", b"\x0a\xff", b"\x0a\x03\x0a\x01\xff", b"\x12\x02\x0a\x05"])
def test_what_is_no_message(bad: bytes) -> None:
    assert "ClassificationRequest" in invalid(lambda: ClassifyBody(bad, PLAIN))


def test_a_message_of_more_than_all_tensors_may_have() -> None:
    assert refused(lambda: body(options=BodyOptions(most_bytes=5)))[0] is Code.RESOURCE_EXHAUSTED


# The signature.


@pytest.mark.parametrize(("asked", "shown"), [("", DEFAULT_SIGNATURE), ("nope", "nope")])
def test_a_signature_that_there_is_not(asked: str, shown: str) -> None:
    text = invalid(lambda: body(signature=asked).signature({"classify": BOTH}))
    assert text == f"No signature was found with the name: {shown}"


def test_the_signature_by_name_and_the_default_one() -> None:
    default = classify_signature("scores", name=DEFAULT_SIGNATURE)
    served = {one.name: one for one in (BOTH, default)}
    assert body(signature="classify").signature(served) is BOTH
    assert body().signature(served) is body(signature=DEFAULT_SIGNATURE).signature(served) is default


REFUSED = [
    (strange("", "a b c"), "Expected one input Tensor."),
    (strange("inputs more"), "Expected one input Tensor."),
    (strange(outputs=""), "Expected one or two output Tensors, found 0"),
    (strange("x", "classes scores other"), "Expected one or two output Tensors, found 3"),
    (strange("x", "y"), f"No classification inputs found in SignatureDef: {signature_text(strange('x', 'y'))}"),
    (
        strange(outputs="y"),
        'Expected classification signature outputs to contain at least one of "classes" or "scores". '
        f"Signature was: {signature_text(strange(outputs='y'))}",
    ),
]


@pytest.mark.parametrize(("signature", "text"), REFUSED)
def test_signatures_that_do_not_classify(signature: Signature, text: str) -> None:
    assert invalid(lambda: body(signature="s").signature({"s": signature})) == text


def test_methods_are_looked_at_first_where_the_server_says_so() -> None:
    signature = strange("x", "y", method="odd")
    text = "Expected classification signature method_name to be tensorflow/serving/classify. Was: odd"
    assert invalid(lambda: body(signature="s", options=CHECKED).signature({"s": signature})) == text
    fine = strange(method="odd")
    assert body(signature="s").signature({"s": fine}) is fine
    assert body(signature="s", options=CHECKED).signature({"s": strange()}) == strange()


# The examples.


def test_no_examples() -> None:
    for empty in (
        request(ClassificationRequest),
        request(ClassificationRequest, context=ONE),
        b"\x0a\x03\x0a\x01m",
        b"\x0a\x03\x0a\x01m\x12\x00",
    ):
        read = ClassifyBody(empty, PLAIN)
        assert read.signature({DEFAULT_SIGNATURE: classify_signature("scores", name=DEFAULT_SIGNATURE)})
        assert invalid(lambda read=read: read.inputs(BOTH)) == "Input is empty."


def fed(made: RequestBody) -> list[bytes]:
    (tensor,) = made.inputs(BOTH)
    assert tensor.dtype is STRING and isinstance(tensor.data, list)
    assert tensor.shape == (len(tensor.data),)
    return tensor.data


def test_one_serialised_example_a_row() -> None:
    examples = [example(x=[2.0], s=[b"\xff"]), example(), example(n=[1, -1])]
    assert [type(one).FromString(data) for one, data in zip(examples, fed(body(*examples)), strict=True)] == examples


def test_a_context_is_in_each_row_and_the_example_wins() -> None:
    rows = fed(body(example(x=[2.0]), example(z=[b"own"]), example(), context=example(z=[1])))
    assert [features(row) for row in rows] == [
        {"z": ("int64_list", [1]), "x": ("float_list", [2.0])},
        {"z": ("bytes_list", [b"own"])},
        {"z": ("int64_list", [1])},
    ]


def test_a_message_in_pieces_is_all_of_them() -> None:
    """As protobuf merges them."""
    pieces = request(ClassificationRequest, ONE, context=example(a=[1])) + request(
        ClassificationRequest, example(y=[3.0]), context=example(b=[2]), signature="s"
    )
    assert [set(features(row)) for row in fed(ClassifyBody(pieces, PLAIN))] == [{"a", "b", "x"}, {"a", "b", "y"}]


def test_of_two_kinds_the_last_counts() -> None:
    both = request(ClassificationRequest, ONE, context=ONE) + request(ClassificationRequest, example(y=[3.0]))
    assert [set(features(row)) for row in fed(ClassifyBody(both, PLAIN))] == [{"y"}]


@pytest.mark.parametrize("dtype", ["float", "int64"])
def test_an_input_that_takes_no_strings(dtype: str) -> None:
    text = invalid(lambda: body().inputs(strange(dtype=dtype)))
    assert text == f"Expects arg[0] to be {dtype} but string is provided"


def test_short_messages_that_stand_for_much() -> None:
    wide = body(*[example()] * 2000, context=example(x=[b"y" * 1000]), options=BodyOptions(1 << 20))
    assert wide.heavy
    assert refused(lambda: wide.inputs(BOTH))[0] is Code.RESOURCE_EXHAUSTED
    many = body(*[example()] * 40_000, options=BodyOptions(1 << 20))
    assert many.heavy and not body().heavy
    assert refused(lambda: many.inputs(BOTH))[0] is Code.RESOURCE_EXHAUSTED


def test_examples_are_forgotten_while_the_request_waits() -> None:
    made = body(ONE, context=example(z=[b"large"]))
    (row,) = fed(made)
    kept = list(gc.get_referents(*vars(made).values()))
    assert not any(one is row or (isinstance(one, bytes) and b"large" in one) for one in kept)
    assert ClassificationResponse.FromString(made.encode(MODEL, BOTH, [texts((1, 1), b"a"), numbers([[1.0]])]).body)


# The answer.

AB = texts((2, 2), b"a", b"b", b"b", b"")
SCORES = numbers([[0.5, 0.0], [-0.0, np.inf]])
SCORED = classify_signature("scores")
LABELLED = classify_signature("classes")

UNFIT = [
    (BOTH, [AB], "Expected 2 output tensor(s).  Got: 1"),
    (BOTH, [texts((2,), b"a", b"b"), SCORES], "Expected Tensor shape: [batch_size num_classes] but got [2]"),
    (BOTH, [AB, numbers([1.0, 2.0])], "Expected Tensor shape: [batch_size num_classes] but got [2]"),
    (SCORED, [numbers(1.0)], "Expected Tensor shape: [batch_size num_classes] but got []"),
    (LABELLED, [numbers([[1.0], [2.0]])], "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
    (SCORED, [numbers([[1], [2]], "int64")], "Expected scores Tensor of DT_FLOAT. Got: DT_INT64"),
    (LABELLED, [texts((1, 2), b"a", b"b")], "Expected classes output batch size of 2. Got: 1"),
    (SCORED, [numbers([[1.0]])], "Expected scores output batch size of 2. Got: 1"),
    (BOTH, [AB, numbers([[1.0], [2.0]])], "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
]


@pytest.mark.parametrize(("signature", "outputs", "text"), UNFIT)
def test_outputs_that_are_no_classification(signature: Signature, outputs: list[Tensor], text: str) -> None:
    assert invalid(lambda: body(ONE, ONE).encode(MODEL, signature, outputs)) == text


def answered(signature: Signature, *outputs: Tensor) -> list[list[tuple[str, float]]]:
    response = ClassificationResponse.FromString(body(ONE, ONE).encode(MODEL, signature, outputs).body)
    return [[(one.label, one.score) for one in row.classes] for row in response.result.classifications]


def test_labels_scores_or_both() -> None:
    assert answered(BOTH, AB, SCORES) == [[("a", 0.5), ("b", 0.0)], [("b", -0.0), ("", np.inf)]]
    assert answered(LABELLED, AB) == [[("a", 0), ("b", 0)], [("b", 0), ("", 0)]]
    assert answered(SCORED, SCORES) == [[("", 0.5), ("", 0)], [("", -0.0), ("", np.inf)]]
    assert answered(SCORED, numbers([[], []])) == [[], []]


@pytest.mark.parametrize("version", [0, 1, 127, 128, (1 << 63) - 1])
def test_the_answer_says_where_it_comes_from(version: int) -> None:
    servable = ServableId("m\u00e9", version)
    default = classify_signature("scores", name=DEFAULT_SIGNATURE)
    for signature in (SCORED, default):
        answer = body().encode(servable, signature, [numbers([[1.0]])])
        spec = ClassificationResponse.FromString(answer.body).model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == ("m\u00e9", version, signature.name)
        assert spec.WhichOneof("version_choice") == "version"


LABELS = st.sampled_from([b"", b"a", b"bb", "\u00e9\u2028".encode(), b"c" * 130, b"\0", b"d" * 20_000])
NUMBERS = st.one_of(st.just(0.0), st.just(-0.0), st.floats(width=32))


@given(st.data(), st.integers(1, 6), st.integers(0, 4), st.sampled_from([3, 8, 1 << 14]))
def test_bytes_are_those_that_protobuf_writes(data: st.DataObject, examples: int, classes: int, at_once: int) -> None:
    count = examples * classes
    labels = data.draw(st.none() | st.lists(LABELS, min_size=count, max_size=count))
    if labels is not None and data.draw(st.booleans()):
        labels = labels[:classes] * examples
    values = data.draw(st.lists(NUMBERS, min_size=count, max_size=count))
    scores = None if labels is not None and data.draw(st.booleans()) else np.array(values, "<f4")
    wanted = ClassificationResult()
    for row in range(examples):
        made = wanted.classifications.add()
        for column in range(classes):
            place = row * classes + column
            one = made.classes.add(label=labels[place].decode() if labels is not None else "")
            if scores is not None:
                one.score = scores[place]
    before, example_answer._AT_ONCE = example_answer._AT_ONCE, at_once  # type: ignore[misc]
    try:
        assert classification_result(Classification(examples, classes, labels, scores)) == wanted.SerializeToString()
    finally:
        example_answer._AT_ONCE = before  # type: ignore[misc]


def test_labels_that_are_no_text() -> None:
    for bad, shown in ((b"\xff\xfea", "\ufffd\ufffda"), (b"a\xe2\x82", "a\ufffd"), (b"\xed\xa0\x80", "\ufffd" * 3)):
        assert answered(LABELLED, texts((2, 1), bad, b"b")) == [[(shown, 0)], [("b", 0)]]


def test_more_labels_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_answer, "_AT_ONCE", 4)
    monkeypatch.setattr(example_answer, "_MOST_HEADS", 2)
    remembered = []

    class Heads(example_answer._Heads):
        def clear(self) -> None:
            remembered.append(len(self))
            super().clear()

    monkeypatch.setattr(example_answer, "_Heads", Heads)
    labels = [b"%d" % number for number in range(20)]
    result = ClassificationResult.FromString(
        classification_result(Classification(10, 2, labels, np.arange(20, dtype="<f4")))
    )
    found = [(one.label, one.score) for row in result.classifications for one in row.classes]
    assert found == [(str(number), number) for number in range(20)]
    assert remembered == [4] * 4


def test_numbers_that_do_not_lie_side_by_side() -> None:
    scores = np.arange(1, 41, dtype="<f4").reshape(20, 2)[:, 1]
    result = ClassificationResult.FromString(classification_result(Classification(5, 4, None, scores)))
    assert [one.score for row in result.classifications for one in row.classes] == scores.tolist()


def test_a_thousand_examples_with_a_thousand_classes_each() -> None:
    """By message objects it would take seconds."""
    count = 1000 * 1000
    labels = [b"class %d" % number for number in range(1000)] * 1000
    scores = np.random.default_rng(1).random(count, np.float32)
    scores[5] = 0.0
    began = time.process_time()
    written = classification_result(Classification(1000, 1000, labels, scores))
    assert time.process_time() - began < 1
    result = ClassificationResult.FromString(written)
    assert len(result.classifications) == 1000
    assert result.SerializeToString() == written


# The whole way.


async def run(on: Stage, made: ClassifyBody) -> Any:
    call = Call(on.front_end, made.spec, "classify", "GRPC", 0, time.monotonic_ns())
    try:
        call.resolve(made)
        call.read_inputs()
        await call.run()
        call.read_outputs()
        return ClassificationResponse.FromString(call.encode().body)
    finally:
        call.close()


@on_loop
async def test_a_request_through_a_lane() -> None:
    async with stage() as on:
        await serve(on, BOTH)
        worker = await open_lane(on, "classify", 1)
        task = asyncio.create_task(run(on, body(ONE, context=example(z=[1]), signature="classify")))
        await until(lambda: worker.consumer.waiting)
        (sent,) = worker.request()
        assert (sent.dtype, sent.shape) == (STRING.number, (1,))
        answer(on, worker, texts((1, 2), b"a", b"b"), numbers([[0.25, 0.75]]))
        response = await task
        assert [(one.label, one.score) for one in response.result.classifications[0].classes] == [("a", 0.25), ("b", 0.75)]
        assert (response.model_spec.name, response.model_spec.version.value) == ("m", 1)
        assert response.model_spec.signature_name == "classify"
        assert on.front_end.idle
