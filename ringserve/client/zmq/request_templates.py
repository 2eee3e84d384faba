"""Requests that ask the same of one numeric input differ in their ids and numbers only: the rest is packed once."""

from __future__ import annotations

from typing import Any, Final

from ringserve.client.operations import Predict
from ringserve.client.tensor_message import predict_message, timeout_in_ms

ID_BYTES: Final = 8
_MOST_KNOWN: Final = 256
_LARGEST: Final = 16 << 10  # bytes of an array, which take longer to copy than all else to pack
_MOST_BYTES: Final = 1 << 12  # of a template
_INLINE: Final = 1 << 62
_LOWEST: Final = bytes(ID_BYTES)
_HIGHEST: Final = b"\xff" * ID_BYTES


class RequestTemplates:
    """Those of the requests that were made lately. Used by several threads."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[bytes, bytes]] = {}

    def message(self, operation: Predict, identifier: bytes, timeout: float | None) -> bytes | None:
        """As `predict_message` has it. None: it is of another kind. Raises ServingError (INVALID_ARGUMENT)."""
        if len(operation.inputs) != 1:
            return None
        for alias, (dtype, shape, values) in operation.inputs.items():
            if type(values) is list or type(shape) is not tuple or values.nbytes > _LARGEST:  # type: ignore[union-attr]
                return None
            milliseconds = None if timeout is None else timeout_in_ms(timeout)
            # A type's name rather than itself: a text knows its hash.
            asked = operation.which, operation.signature, operation.outputs, operation.key, operation.low
            form = asked, milliseconds, alias, dtype.name, shape
            found = self._known.get(form)
            if found is None:
                found = self._add(form, operation, timeout, values.nbytes)  # type: ignore[union-attr]
            return b"".join((found[0], identifier, found[1], values.tobytes()))  # type: ignore[union-attr]
        return None

    def _add(self, form: Any, operation: Predict, timeout: float | None, nbytes: int) -> tuple[bytes, bytes]:
        """What stands before the id, and between it and the numbers, which are last."""
        lowest, highest = (
            bytes(predict_message(operation, identifier, timeout, _INLINE)[0]) for identifier in (_LOWEST, _HIGHEST)
        )
        at = next(place for place, byte in enumerate(lowest) if byte != highest[place])
        found = lowest[:at], lowest[at + ID_BYTES : len(lowest) - nbytes]
        if len(lowest) - nbytes <= _MOST_BYTES:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[form] = found
        return found
