"""Output tensors of tests, and signatures of classify and regress."""

from __future__ import annotations

from typing import Any

import numpy as np

from frontend.tensors import Tensor
from ringserve.example_request import named_classify_signature
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME, STRING


def numbers(value: Any, dtype: str = "float", shape: tuple[int, ...] | None = None) -> Tensor:
    array = np.array(value, dtype=BY_NAME[dtype].numpy)
    array = array if shape is None else array.reshape(shape)
    return Tensor(BY_NAME[dtype], array.shape, array)


def texts(shape: tuple[int, ...], *elements: bytes) -> Tensor:
    return Tensor(STRING, shape, list(elements))


def tensor_spec(alias: str, dtype: str, name: str | None = None) -> TensorSpec:
    return TensorSpec(alias, name or f"{alias}:0", BY_NAME[dtype], (-1,))


def classify_signature(*outputs: str, name: str = "classify", method: str = CLASSIFY) -> Signature:
    """One that passes the checks before a run."""
    specs = tuple(tensor_spec(alias, "string" if alias == "classes" else "float") for alias in sorted(outputs))
    made = Signature(name, method, (tensor_spec("inputs", "string"),), specs)
    return named_classify_signature(name, {name: made}, False)


def regress_signature(name: str = "regress", method: str = REGRESS) -> Signature:
    return Signature(name, method, (tensor_spec("inputs", "string"),), (tensor_spec("outputs", "float"),))
