"""Predictions out of serialised PredictResponse messages."""

from __future__ import annotations

from ringserve.client.answers import Prediction, Source
from ringserve.client.tensors import array_of
from ringserve.errors import ServingError
from ringserve.predict_response_reader import read_predict_response
from ringserve.tensor import dtype_of


def prediction(message: bytes) -> Prediction:
    """Raises ServingError: INTERNAL where the message is none, UNIMPLEMENTED for outputs that numpy has no arrays for."""
    response = read_predict_response(message)
    outputs = []
    for alias, tensor in response.outputs.items():
        try:
            outputs.append((alias, array_of(dtype_of(tensor.dtype), tensor.shape, tensor.values)))
        except ServingError as error:
            raise ServingError(error.code, f"Output {alias!r}: {error.message}") from error
    return Prediction(outputs, Source(response.name, response.version or 0, response.signature_name))
