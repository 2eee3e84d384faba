"""Tensors by alias as bytes, whatever their types: those of a PredictRequest that has nothing else."""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.harness.payload import Inputs
from ringserve.client.grpc.messages import predict_message
from ringserve.client.operations import Predict
from ringserve.predict_message import read_request
from ringserve.tensor import dtype_of

_MOST_BYTES: Final = 1 << 31


def tensor_bytes(tensors: Inputs) -> bytes:
    """Raises ServingError for tensors that have no such form."""
    return predict_message(Predict(("", None, None), "", tensors))


def tensors_of(message: bytes) -> Inputs:
    """Raises ServingError and WireError for what is no such message."""
    found = {alias: tensor.decode(_MOST_BYTES) for alias, tensor in read_request(message).tensors.items()}
    return {
        alias: (dtype_of(each.dtype), each.shape, np.reshape(each.values, each.shape))
        if not isinstance(each.values, list)
        else (dtype_of(each.dtype), each.shape, each.values)
        for alias, each in found.items()
    }
