"""What a PredictRequest asks for: its signature and input tensors, with upstream's checks in upstream's order and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.tensor import dtype_of
from ringserve.tensor_proto import DEFAULT_MOST_BYTES, DecodedTensor, decode

PREDICT: Final = "tensorflow/serving/predict"
CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"
_METHODS: Final = (PREDICT, CLASSIFY, REGRESS)


def predict_signature(request: Any, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature that a PredictRequest names, or the default one. Raises ServingError.

    `check_method`: what --enable_signature_method_name_check says.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    if check_method and signature.method not in _METHODS:
        text = f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. Was: {signature.method}"
        raise ServingError(Code.INTERNAL, text)
    return signature


def predict_inputs(request: Any, signature: Signature, most_bytes: int = DEFAULT_MOST_BYTES) -> list[DecodedTensor]:
    """The input tensors of a PredictRequest, in the signature's order. Raises ServingError.

    As upstream, this compares no shape with the declared one. `most_bytes`: see `ringserve.tensor_proto.decode`.
    """
    sent = request.inputs
    _check_count(sent, signature)
    tensors = []
    for spec in signature.inputs:
        if spec.alias not in sent:
            raise _invalid(
                f"Signature input alias: {spec.alias}(feed name: {spec.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: "
            )
        try:
            tensors.append(decode(sent[spec.alias], most_bytes))
        except ServingError as error:
            if error.code is Code.INVALID_ARGUMENT:
                raise _invalid(f"tensor parsing error: {spec.alias}") from error
            raise
    _check_filter(request.output_filter, signature)
    for index, (spec, tensor) in enumerate(zip(signature.inputs, tensors, strict=True)):
        if tensor.dtype != spec.dtype.number:
            given = dtype_of(tensor.dtype).name
            raise _invalid(f"Expects arg[{index}] to be {spec.dtype.name} but {given} is provided")
    return tensors


def _check_count(sent: Mapping[str, Any], signature: Signature) -> None:
    wanted = [spec.alias for spec in signature.inputs]
    if len(sent) != len(wanted):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != len({_set(wanted)}). "
            f"Sent extra: {_set(set(sent) - set(wanted))}. Missing but required: {_set(set(wanted) - set(sent))}."
        )


def _check_filter(output_filter: Iterable[str], signature: Signature) -> None:
    known = [spec.alias for spec in signature.outputs]
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in known:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {_set(known)}."
            )
        if alias in seen:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)


def _set(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
