"""PredictResponse messages to arrays, for a client: with numpy alone, as views of the message where that is possible."""

from __future__ import annotations

from typing import Final, NamedTuple

from ringserve.errors import Code, ServingError
from ringserve.predict_message import read_response
from ringserve.protobuf_wire import Buffer, WireError
from ringserve.tensor_proto import DecodedTensor

#: Bytes of an output that the message does not carry, and of strings: a server is not trusted with all memory.
MOST_BYTES: Final = 1 << 31


class PredictResponse(NamedTuple):
    """`version` None: the server did not say. `outputs`: by alias; the arrays have one dimension, whatever the shape."""

    name: str
    version: int | None
    signature_name: str
    outputs: dict[str, DecodedTensor]


def read_predict_response(message: Buffer, most_bytes: int = MOST_BYTES) -> PredictResponse:
    """Raises ServingError: INTERNAL for what is no such message or has a tensor that can't be, RESOURCE_EXHAUSTED where it
    stands for an output of more than `most_bytes`.
    """
    try:
        response = read_response(message)
        outputs = {alias: tensor.decode(most_bytes) for alias, tensor in response.tensors.items()}
    except WireError as error:
        raise ServingError(Code.INTERNAL, f"the answer is no tensorflow.serving.PredictResponse: {error}") from None
    except ServingError as error:
        if error.code is Code.INVALID_ARGUMENT:
            raise ServingError(Code.INTERNAL, f"an output of the answer can't be read: {error.message}") from None
        raise
    name, version, _, signature_name = response.model_spec or ("", None, None, "")
    return PredictResponse(name, version, signature_name, outputs)
