"""What a PredictRequest asks for: its signature and input tensors, with upstream's checks in upstream's order and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringserve.errors import Code, ServingError
from ringserve.predict_checks import check_all_used, check_dtypes, check_method_name, check_output_filter, in_order
from ringserve.predict_message import PredictMessage
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.tensor_proto import DEFAULT_MOST_BYTES, DecodedTensor

CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"


def predict_signature(request: PredictMessage, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature that a PredictRequest names, or the default one. Raises ServingError.

    `check_method`: what --enable_signature_method_name_check says.
    """
    spec = request.model_spec
    name = (spec and spec.signature_name) or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    if check_method:
        check_method_name(signature)
    return signature


def predict_inputs(
    request: PredictMessage, signature: Signature, most_bytes: int = DEFAULT_MOST_BYTES
) -> list[DecodedTensor]:
    """The input tensors of a PredictRequest, in the signature's order; default values for those that it leaves out.

    Raises ServingError, and WireError for a tensor that is no message.

    As upstream, this compares no shape with the declared one. `most_bytes`: see `UnreadTensor.decode`.
    """
    sent = in_order(request.tensors, signature)
    tensors: list[DecodedTensor] = []
    try:
        for unread in sent:
            tensors.append(unread.decode(most_bytes))  # one by one: how many there are says which is wrong
    except ServingError as error:
        if error.code is Code.INVALID_ARGUMENT:
            raise _invalid(f"tensor parsing error: {signature.inputs[len(tensors)].alias}") from error
        raise
    if signature.defaults:
        check_all_used(request.tensors, signature)
    if request.output_filter:
        check_output_filter(request.output_filter, signature)
    check_dtypes([tensor.dtype for tensor in tensors], signature)
    return tensors


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
