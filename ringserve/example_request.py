"""What requests made of tf.Examples ask for (classify, regress, multi-inference), with upstream's checks and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ringserve.errors import Code, ServingError
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.signature_text import signature_text
from ringserve.tensor import STRING
from ringserve.tensor_proto import DEFAULT_MOST_BYTES, DecodedTensor

_INPUT: Final = "inputs"
_OUTPUT: Final = "outputs"
_CLASSIFY_OUTPUTS: Final = ("classes", "scores")


def examples(message: Any, most_bytes: int = DEFAULT_MOST_BYTES) -> DecodedTensor:
    """An Input message as the string tensor that is fed: one serialised tf.Example for each row, with its context.

    Raises ServingError: INVALID_ARGUMENT when there is none, else as `with_context`.
    """
    kind = message.WhichOneof("kind")
    context = b""
    rows: list[bytes] = []
    if kind is not None:
        chosen = getattr(message, kind)
        if kind == "example_list_with_context":
            context = chosen.context.SerializeToString()
        rows = [example.SerializeToString() for example in chosen.examples]
    if not rows:
        raise _invalid("Input is empty.")
    return DecodedTensor(STRING.number, (len(rows),), with_context(context, rows, most_bytes))


def with_context(context: bytes, rows: list[bytes], most_bytes: int) -> list[bytes]:
    """Serialised tf.Examples with a context merged into each.

    The context goes before the example's own bytes, which is how protobuf merges two messages: the example's features win.
    A short message with many examples could stand for any number of bytes. Raises ServingError (RESOURCE_EXHAUSTED) when
    that is more than `most_bytes`.
    """
    if not context:
        return rows
    total = len(context) * len(rows) + sum(map(len, rows))
    if total > most_bytes:
        text = f"The examples take {total} bytes with their context, more than the limit of {most_bytes}"
        raise ServingError(Code.RESOURCE_EXHAUSTED, text)
    return [context + row for row in rows]


def classify_signature(request: Any, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature that a ClassificationRequest names, as `named_classify_signature`."""
    return named_classify_signature(request.model_spec.signature_name, signatures, check_method)


def regress_signature(request: Any, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature that a RegressionRequest names, as `named_regress_signature`."""
    return named_regress_signature(request.model_spec.signature_name, signatures, check_method)


def named_classify_signature(name: str, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature of this name, or the default one where it is empty. Raises ServingError (INVALID_ARGUMENT).

    `check_method`: what --enable_signature_method_name_check says.
    """
    signature = _named(name, signatures)
    _check_classify(signature, check_method)
    return signature


def named_regress_signature(name: str, signatures: Mapping[str, Signature], check_method: bool) -> Signature:
    """The signature of this name, or the default one where it is empty. Raises ServingError (INVALID_ARGUMENT).

    `check_method`: what --enable_signature_method_name_check says.
    """
    signature = _named(name, signatures)
    _check_regress(signature, check_method)
    return signature


def example_inputs(rows: list[bytes], signature: Signature) -> DecodedTensor:
    """Serialised tf.Examples as the tensor for a checked signature's one input. Raises ServingError (INVALID_ARGUMENT)
    where that takes no strings: a signature may say so and still be asked.
    """
    declared = signature.inputs[0].dtype
    if declared.number != STRING.number:
        raise _invalid(f"Expects arg[0] to be {declared.name} but string is provided")
    return DecodedTensor(STRING.number, (len(rows),), rows)


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


def _named(name: str, signatures: Mapping[str, Signature]) -> Signature:
    name = name or DEFAULT_SIGNATURE
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
