"""What requests made of tf.Examples ask for (classify, regress, multi-inference), with upstream's checks and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ringserve.errors import Code, ServingError
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.signature_text import signature_text
from ringserve.tensor import STRING
from ringserve.tensor_proto import DecodedTensor

_INPUT: Final = "inputs"
_OUTPUT: Final = "outputs"
_CLASSIFY_OUTPUTS: Final = ("classes", "scores")


def examples(message: Any) -> DecodedTensor:
    """An Input message as the string tensor that is fed: one serialised tf.Example for each row.

    A context goes before each example's own bytes, which is how protobuf merges two messages: the example's features win.
    Raises ServingError (INVALID_ARGUMENT) when there is none.
    """
    kind = message.WhichOneof("kind")
    context = b""
    rows: list[bytes] = []
    if kind is not None:
        chosen = getattr(message, kind)
        if kind == "example_list_with_context":
            context = chosen.context.SerializeToString()
        rows = [context + example.SerializeToString() for example in chosen.examples]
    if not rows:
        raise _invalid("Input is empty.")
    return DecodedTensor(STRING.number, (len(rows),), rows)


def classify_signature(request: Any, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature that a ClassificationRequest names, or the default one. Raises ServingError (INVALID_ARGUMENT).

    `check_method`: what --enable_signature_method_name_check says.
    """
    signature = _named(request.model_spec, signatures)
    _check_classify(signature, check_method)
    return signature


def regress_signature(request: Any, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature that a RegressionRequest names, or the default one. Raises ServingError (INVALID_ARGUMENT).

    `check_method`: what --enable_signature_method_name_check says.
    """
    signature = _named(request.model_spec, signatures)
    _check_regress(signature, check_method)
    return signature


def multi_inference_signatures(
    tasks: Iterable[Any], signatures: Mapping[str, Signature], check_method: bool
) -> list[Signature]:
    """The signature of each task, all different. Raises ServingError: UNIMPLEMENTED for a method that is neither classify
    nor regress, else INVALID_ARGUMENT.

    It is the task's method that counts; `check_method` has the signature's own looked at too.
    """
    found: dict[str, Signature] = {}
    model = None
    for task in tasks:
        if not task.model_spec.name:
            raise _invalid("Found ModelSpec with an empty model name.")
        if model not in (None, task.model_spec.name):
            raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        model = task.model_spec.name
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in found:
            raise _invalid(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise _invalid(f"Requested signature not found in model graph: {name}")
        found[name] = signatures[name]
        if task.method_name == CLASSIFY:
            _check_classify(signatures[name], check_method)
        elif task.method_name == REGRESS:
            _check_regress(signatures[name], check_method)
        else:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
    return list(found.values())


def _named(model_spec: Any, signatures: Mapping[str, Signature]) -> Signature:
    name = model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise _invalid(f"No signature was found with the name: {name}")
    return signatures[name]


def _check_classify(signature: Signature, check_method: bool) -> None:
    if check_method and signature.method != CLASSIFY:
        raise _invalid(f"Expected classification signature method_name to be {CLASSIFY}. Was: {signature.method}")
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if signature.inputs[0].alias != _INPUT:
        raise _invalid(f"No classification inputs found in SignatureDef: {signature_text(signature)}")
    if not any(spec.alias in _CLASSIFY_OUTPUTS for spec in signature.outputs):
        raise _invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature_text(signature)}"
        )


def _check_regress(signature: Signature, check_method: bool) -> None:
    if check_method and signature.method != REGRESS:
        raise _invalid(f"Expected regression signature method_name to be {REGRESS}. Was: {signature.method}")
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if signature.inputs[0].alias != _INPUT:
        raise _invalid(f"No regression inputs found in SignatureDef: {signature_text(signature)}")
    if signature.outputs[0].alias != _OUTPUT:
        raise _invalid(f"No regression outputs found in SignatureDef: {signature_text(signature)}")


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
