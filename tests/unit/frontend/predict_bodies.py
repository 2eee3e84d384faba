"""Predict bodies of tests: signatures to read them with, and what they mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made_signatures import signature, spec

from frontend.rest.predict_body import Inputs, PredictBody
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature

X = signature(spec("x"))
TEXT = signature(spec("t", "string"))
TWO = signature(spec("a"), spec("b", "int32"))
TWO_TEXTS = signature(spec("s", "string"), spec("t", "string"))
HALF = signature(spec("h", "half"))


def read(body: str | dict[str, Any], of: Signature = X) -> Inputs:
    text = body if isinstance(body, str) else json.dumps(body)
    return PredictBody(text.encode()).tensors(of)


def plain(tensor: Tensor) -> Any:
    return tensor.data if isinstance(tensor.data, list) else tensor.data.tolist()


def values(inputs: Inputs) -> list[Any]:
    return [plain(tensor) for tensor in inputs.tensors]


def rows(instances: Any, of: Signature = X) -> list[Any]:
    inputs = read({"instances": instances}, of)
    assert inputs.rows
    assert [tensor.dtype for tensor in inputs.tensors] == [wanted.dtype for wanted in of.inputs]
    return values(inputs)


def columns(value: Any, of: Signature = X) -> list[Any]:
    inputs = read({"inputs": value}, of)
    assert not inputs.rows
    return values(inputs)


def refusal(body: str | dict[str, Any], of: Signature = X, code: Code = Code.INVALID_ARGUMENT) -> str:
    with pytest.raises(ServingError) as caught:
        read(body, of)
    assert caught.value.code is code
    return caught.value.message
