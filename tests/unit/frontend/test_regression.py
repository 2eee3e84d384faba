"""Numbers out of a regress run's output, and each refusal's text."""

from __future__ import annotations

import pytest
from made_outputs import numbers, texts

from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.regression import regression


def refusal(*outputs: Tensor, examples: int = 2) -> str:
    with pytest.raises(ServingError) as caught:
        regression(outputs, examples)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("output", [numbers([1.5, 2.5]), numbers([[1.5], [2.5]])])
def test_one_number_an_example(output: Tensor) -> None:
    assert regression([output], 2).tolist() == [1.5, 2.5]


@pytest.mark.parametrize("outputs", [[], [numbers([1.0, 2.0])] * 2])
def test_the_number_of_outputs(outputs: list[Tensor]) -> None:
    assert refusal(*outputs) == "Expected output_tensors and output_tensor_names to have the same size."


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (numbers(1.0), "[]"),
        (numbers([[1.0, 2.0], [3.0, 4.0]]), "[2,2]"),
        (numbers([[], []]), "[2,0]"),
        (numbers([[[1.0]], [[2.0]]]), "[2,1,1]"),
        (texts((), b"a"), "[]"),
    ],
)
def test_the_shape(output: Tensor, shown: str) -> None:
    text = f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shown}"
    assert refusal(output, examples=7) == text


@pytest.mark.parametrize("output", [numbers([1.0, 2.0]), numbers([[1.0], [2.0]]), numbers([1.0, 2.0], "double")])
def test_the_batch_size(output: Tensor) -> None:
    assert refusal(output, examples=3) == "Input batch size did not match output batch size: 3 vs. 2"


def test_the_type() -> None:
    assert refusal(numbers([1.0, 2.0], "double")) == "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"
    assert refusal(texts((2, 1), b"a", b"b")) == "Expected output Tensor of DT_FLOAT.  Got: DT_STRING"
    assert refusal(numbers([1, 2], "int32")) == "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"
