"""Upstream's checks of a predict request's names and types, in its words, whatever form the request came in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from ringserve.default_value import DefaultValue
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature
from ringserve.tensor import dtype_of

_METHODS: Final = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")

T = TypeVar("T")


def rest_signature(name: str, signatures: Mapping[str, Signature]) -> Signature:
    """The signature of this name, with the text that upstream's REST API has where there is none; gRPC's is another.

    Raises ServingError (INVALID_ARGUMENT).
    """
    found = signatures.get(name)
    if found is None:
        raise _invalid(f'Serving signature name: "{name}" not found in signature def')
    return found


def check_method_name(signature: Signature) -> None:
    """What --enable_signature_method_name_check asks for. Raises ServingError (INTERNAL)."""
    if signature.method not in _METHODS:
        text = f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. Was: {signature.method}"
        raise ServingError(Code.INTERNAL, text)


def check_input_count(sent: Collection[str], signature: Signature) -> None:
    """Raises ServingError (INVALID_ARGUMENT). `sent`: aliases; too few are for `in_order` where there are default values."""
    count = len(signature.inputs)
    if len(sent) > count or (len(sent) < count and not signature.defaults):
        wanted = [spec.alias for spec in signature.inputs]
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != len({_set(wanted)}). "
            f"Sent extra: {_set(set(sent) - set(wanted))}. Missing but required: {_set(set(wanted) - set(sent))}."
        )


def in_order(sent: Mapping[str, T], signature: Signature) -> Sequence[T | DefaultValue]:
    """What was sent for each of the signature's inputs, or its default value where nothing was.

    Raises ServingError (INVALID_ARGUMENT). Of a signature with default values, `check_all_used` has to be asked too.
    """
    if len(sent) != len(signature.inputs):
        check_input_count(sent, signature)
    found = []
    for spec in signature.inputs:
        if spec.alias not in sent:
            return _with_defaults(sent, signature)
        found.append(sent[spec.alias])
    return found


def _with_defaults(sent: Mapping[str, T], signature: Signature) -> Sequence[T | DefaultValue]:
    defaults = {default.alias: default for default in signature.defaults}
    found: list[T | DefaultValue] = []
    for spec in signature.inputs:
        if spec.alias in sent:
            found.append(sent[spec.alias])
        elif spec.alias in defaults:
            found.append(defaults[spec.alias])
        else:
            raise _invalid(
                f"Signature input alias: {spec.alias}(feed name: {spec.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: "
                f"{_list(defaults)}"
            )
    return found


def check_all_used(sent: Collection[str], signature: Signature) -> None:
    """What in_order let pass may still have aliases in it that no input has, in the place of those with default values.

    Raises ServingError (INVALID_ARGUMENT).
    """
    used = [spec.alias for spec in signature.inputs if spec.alias in sent]
    if len(used) != len(sent):
        raise _invalid(f"Inputs contains invalid name. Used request inputs: {_list(used)}, request input: {_list(sent)}")


def check_output_filter(output_filter: Iterable[str], signature: Signature) -> list[int]:
    """Where in the signature these outputs are. Raises ServingError (INVALID_ARGUMENT)."""
    known = [spec.alias for spec in signature.outputs]
    found: list[int] = []
    for alias in output_filter:
        if alias not in known:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {_set(known)}."
            )
        index = known.index(alias)
        if index in found:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        found.append(index)
    return found


def check_dtypes(dtypes: Sequence[int], signature: Signature) -> None:
    """`dtypes`: TensorFlow's numbers, in the signature's order. Raises ServingError (INVALID_ARGUMENT)."""
    for index, dtype in enumerate(dtypes):
        spec = signature.inputs[index]
        if dtype != spec.dtype.number:
            raise _invalid(f"Expects arg[{index}] to be {spec.dtype.name} but {dtype_of(dtype).name} is provided")


def _set(names: Iterable[str]) -> str:
    return f"{{{_list(names)}}}"


def _list(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
