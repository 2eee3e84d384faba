"""PredictRequest messages of any protocol, as tensors for a signature."""

from __future__ import annotations

from typing import Final

from frontend.bodies.arrays import invalid, tensor_of
from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.endpoint import TooLargeError
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.predict_message import PredictMessage, read_request
from ringserve.predict_request import predict_inputs
from ringserve.protobuf_wire import WireError
from ringserve.signature import Signature

PROTOBUF: Final = "application/x-protobuf"
#: What is left of a request whose tensors were read.
READ: Final = PredictMessage(None, {}, ())


def read_predict_request(body: Buffer) -> PredictMessage:
    """A PredictRequest message. Raises ServingError (INVALID_ARGUMENT)."""
    try:
        return read_request(body)
    except WireError as error:
        raise _no_message(error) from None


def predict_tensors(request: PredictMessage, signature: Signature, options: BodyOptions) -> list[Tensor]:
    """One for each of the signature's inputs, in its order; numbers are views of the message where that is possible.

    Raises ServingError.
    """
    try:
        return [tensor_of(decoded) for decoded in predict_inputs(request, signature, options.most_bytes)]
    except WireError as error:
        raise _no_message(error) from None
    except ServingError as error:
        if error.code is Code.RESOURCE_EXHAUSTED:
            raise TooLargeError(error.code, error.message) from error
        raise


def _no_message(error: WireError) -> ServingError:
    return invalid(f"the request is no message ({error}); expected a serialised tensorflow.serving.PredictRequest")
