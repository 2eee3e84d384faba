"""Labels and scores out of a run's outputs, and each refusal's text."""

from __future__ import annotations

import pytest
from made_outputs import classify_signature, numbers, tensor_spec, texts

from frontend.tensors import Tensor
from ringserve.classification import Classification, classification
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature

BOTH = classify_signature("classes", "scores")
ABCD = texts((2, 2), b"a", b"b", b"c", b"d")
SCORES = numbers([[0.5, 1.0], [2.0, 4.0]])


def result(made: Classification) -> tuple[int, int, list[bytes] | None, list[float] | None]:
    return made.examples, made.classes, made.labels, None if made.scores is None else made.scores.tolist()


def refusal(signature: Signature, *outputs: Tensor, examples: int = 2) -> str:
    with pytest.raises(ServingError) as caught:
        classification(signature, outputs, examples)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_labels_scores_or_both() -> None:
    both = classification(BOTH, [ABCD, SCORES], 2)
    assert result(both) == (2, 2, [b"a", b"b", b"c", b"d"], [0.5, 1.0, 2.0, 4.0])
    assert result(classification(classify_signature("classes"), [ABCD], 2)) == (2, 2, [b"a", b"b", b"c", b"d"], None)
    assert result(classification(classify_signature("scores"), [SCORES], 2)) == (2, 2, None, [0.5, 1.0, 2.0, 4.0])


def test_no_class_at_all() -> None:
    assert result(classification(BOTH, [texts((3, 0)), numbers([[]] * 3)], 3)) == (3, 0, [], [])


def test_an_output_of_another_name_is_left_out_whatever_it_is() -> None:
    other = numbers(5, "int64")
    assert result(classification(classify_signature("classes", "other"), [ABCD, other], 2))[2] == [b"a", b"b", b"c", b"d"]
    assert result(classification(classify_signature("other", "scores"), [other, SCORES], 2))[3] == [0.5, 1.0, 2.0, 4.0]


def test_one_tensor_under_both_names_counts_as_labels() -> None:
    specs = (tensor_spec("classes", "string", "t:0"), tensor_spec("scores", "string", "t:0"))
    signature = Signature("s", "", BOTH.inputs, specs)
    assert result(classification(signature, [ABCD, ABCD], 2)) == (2, 2, [b"a", b"b", b"c", b"d"], None)


@pytest.mark.parametrize("outputs", [[], [ABCD], [ABCD, SCORES, SCORES]])
def test_the_number_of_outputs(outputs: list[Tensor]) -> None:
    assert refusal(BOTH, *outputs) == f"Expected 2 output tensor(s).  Got: {len(outputs)}"


@pytest.mark.parametrize(
    ("labels", "scores", "shown"),
    [
        (texts((2,), b"a", b"b"), SCORES, "[2]"),
        (ABCD, numbers(1.0), "[]"),
        (ABCD, numbers([[[1.0]], [[2.0]]]), "[2,1,1]"),
        (texts((), b"a"), numbers(1.0, "double"), "[]"),
    ],
)
def test_the_rank(labels: Tensor, scores: Tensor, shown: str) -> None:
    assert refusal(BOTH, labels, scores) == f"Expected Tensor shape: [batch_size num_classes] but got {shown}"


def test_the_types() -> None:
    assert refusal(BOTH, SCORES, SCORES) == "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"
    assert refusal(BOTH, ABCD, ABCD) == "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"
    double = numbers([[1.0]] * 3, "double")
    assert refusal(BOTH, ABCD, double) == "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE", "before its batch size"
    assert refusal(BOTH, numbers([[1]], "int64"), SCORES) == "Expected classes Tensor of DT_STRING. Got: DT_INT64"


def test_the_batch_size() -> None:
    assert refusal(BOTH, ABCD, SCORES, examples=3) == "Expected classes output batch size of 3. Got: 2"
    assert refusal(BOTH, ABCD, numbers([[1.0]])) == "Expected scores output batch size of 2. Got: 1"


def test_the_number_of_classes() -> None:
    text = "Tensors class and score should match in dim_size(1). Got 2 vs. 1"
    assert refusal(BOTH, ABCD, numbers([[1.0], [2.0]])) == text
