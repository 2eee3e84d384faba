"""What a caller passes as inputs, as tensors by alias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ringserve.client.names import checked_name
from ringserve.client.tensors import Tensor, has_type, numbers_of, strings_of, tensor_of
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature
from ringserve.tensor import STRING

#: Looks the signature up, where the inputs don't say all.
Lookup = Callable[[], Signature]


def input_tensors(inputs: Any, signature: Lookup) -> dict[str, Tensor]:
    """`inputs`: a mapping, or the only input's value.

    Raises ServingError: INVALID_ARGUMENT for inputs that are no tensors; and what `signature` raises.
    """
    if not isinstance(inputs, Mapping):
        inputs = {_only_input(signature()): inputs}
    return {checked_name(alias): _tensor(alias, value, signature) for alias, value in inputs.items()}


def rows_of_requests(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Inputs of which every row is a request of its own. Raises ServingError (INVALID_ARGUMENT) where they aren't."""
    counts = {}
    for alias, (dtype, shape, _) in tensors.items():
        if dtype is STRING:
            raise _invalid(f"Input {alias!r} has strings, which can't be cut into requests: use submit or a stream")
        if not shape:
            raise _invalid(f"Input {alias!r} is a single number: it needs a row for each request")
        counts[alias] = shape[0]
    if len(set(counts.values())) != 1:
        found = ", ".join(f"{alias}: {count}" for alias, count in counts.items()) or "there are no inputs"
        raise _invalid(f"Every input has a row for each request, and so all have the same number of rows ({found})")
    if not min(counts.values()):
        raise _invalid("There are no requests: the inputs have no rows")
    return tensors


def _tensor(alias: str, value: Any, signature: Lookup) -> Tensor:
    try:
        if has_type(value):
            return tensor_of(value)
        strings = strings_of(value)
        if strings is not None:
            return strings
        for spec in signature().inputs:
            if spec.alias == alias:
                return numbers_of(value, spec.dtype)
    except ServingError as error:
        if error.code is not Code.INVALID_ARGUMENT:
            raise
        raise ServingError(error.code, f"Input {alias!r}: {error.message}") from error
    names = ", ".join(spec.alias for spec in signature().inputs)
    raise _invalid(f"The signature has no input {alias!r}, only {names or 'none at all'}")


def _only_input(signature: Signature) -> str:
    inputs = signature.inputs
    if len(inputs) != 1:
        names = ", ".join(spec.alias for spec in inputs) or "none"
        raise _invalid(f"The signature has {len(inputs)} inputs ({names}): pass a dict with an array for each")
    return inputs[0].alias


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
