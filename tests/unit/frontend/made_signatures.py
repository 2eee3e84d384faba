"""Signatures for tests, in a few words."""

from __future__ import annotations

from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import BY_NAME


def spec(alias: str, dtype: str = "float", shape: tuple[int, ...] | None = (-1,)) -> TensorSpec:
    return TensorSpec(alias, f"{alias}:0", BY_NAME[dtype], shape)


def signature(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (), name: str = DEFAULT_SIGNATURE) -> Signature:
    return Signature(name, "tensorflow/serving/predict", inputs, outputs)
