"""What a caller wants to know, as PredictRequest messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ringserve.client.answers import Metadata
from ringserve.client.tensors import has_type, numbers_of, strings_of, tensor_of
from ringserve.errors import Code, ServingError
from ringserve.model_spec_writer import model_spec_field
from ringserve.predict_request_writer import Input, predict_request
from ringserve.signature import DEFAULT_SIGNATURE, Signature

_KEPT: Final = 30.0  # seconds for which signatures are believed: a new version may have others
_MOST_KEPT: Final = 1024

#: A model, and its version or label.
Which = tuple[str, int | None, str | None]


class PredictRequests:
    """Writes them, and asks for a model's signatures where the inputs don't say all.

    `metadata`: asks the server, given what is asked for and the seconds that it may take.
    """

    def __init__(self, metadata: Callable[[Which, float | None], Metadata]) -> None:
        self._metadata = metadata
        self._known: dict[bytes, tuple[float, Metadata]] = {}  # by their ModelSpec

    def serialised(
        self, which: Which, inputs: Any, signature: str, outputs: Sequence[str] | None, timeout: float | None
    ) -> bytes:
        """Raises ServingError: INVALID_ARGUMENT for inputs that are no tensors, or what the server answers when asked."""
        spec = model_spec_field(*which, signature)
        if outputs is not None and (isinstance(outputs, str | bytes) or not isinstance(outputs, Iterable)):
            raise ServingError(Code.INVALID_ARGUMENT, "outputs is a list of names")
        if not isinstance(inputs, Mapping):
            inputs = {self._only_input(which, signature, timeout): inputs}
        tensors = [self._input(alias, value, which, signature, timeout) for alias, value in inputs.items()]
        return predict_request(spec, tensors, () if outputs is None else outputs)

    def _input(self, alias: str, value: Any, which: Which, signature: str, timeout: float | None) -> Input:
        try:
            if has_type(value):
                return alias, *tensor_of(value)
            strings = strings_of(value)
            if strings is not None:
                return alias, *strings
            for spec in self._signature(which, signature, timeout).inputs:
                if spec.alias == alias:
                    return alias, *numbers_of(value, spec.dtype)
        except ServingError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            raise ServingError(error.code, f"Input {alias!r}: {error.message}") from error
        names = ", ".join(spec.alias for spec in self._signature(which, signature, timeout).inputs)
        raise ServingError(Code.INVALID_ARGUMENT, f"The signature has no input {alias!r}, only {names or 'none at all'}")

    def _only_input(self, which: Which, signature: str, timeout: float | None) -> str:
        inputs = self._signature(which, signature, timeout).inputs
        if len(inputs) != 1:
            names = ", ".join(spec.alias for spec in inputs) or "none"
            text = f"The signature has {len(inputs)} inputs ({names}): pass a dict with an array for each"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        return inputs[0].alias

    def _signature(self, which: Which, name: str, timeout: float | None) -> Signature:
        spec = model_spec_field(*which)
        asked_at, metadata = self._known.get(spec, (0.0, None))
        now = time.monotonic()
        if metadata is None or now - asked_at > _KEPT:
            metadata = self._metadata(which, timeout)
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[spec] = now, metadata
        name = name or DEFAULT_SIGNATURE
        signature = metadata.signatures.get(name)
        if signature is None:  # in the words of the server, which would say the same
            raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        return signature
