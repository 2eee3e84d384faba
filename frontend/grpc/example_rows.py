"""The examples of a request, as they are fed to a model."""

from __future__ import annotations

from typing import Any, Final

from frontend.heavy_work import HEAVY
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.example_request import example_inputs, with_context
from ringserve.signature import Signature
from ringserve.tensor import dtype_of
from ringserve.tensor_proto import STRING_BYTES

_MANY: Final = 1 << 15  # examples


class ExampleRows:
    """Of an Input message whose examples are bytes."""

    def __init__(self, message: Any, most_bytes: int) -> None:
        """`most_bytes`: of all examples, each with the context."""
        kind = message.WhichOneof("kind")
        chosen: Any = getattr(message, kind or "example_list")
        self._examples: Any = chosen.examples
        self._context = b"".join(chosen.context) if kind == "example_list_with_context" else b""
        self._most_bytes = most_bytes
        self.count = len(self._examples)

    @property
    def heavy(self) -> bool:
        """Does `take` need more than a few ms?"""
        return self.count > _MANY or self.count * len(self._context) > HEAVY

    def take(self) -> list[bytes]:
        """One serialised tf.Example for each row. Once: they are forgotten then.

        Raises ServingError: INVALID_ARGUMENT when there is none, RESOURCE_EXHAUSTED when they take too much memory.
        """
        if not self.count:
            raise ServingError(Code.INVALID_ARGUMENT, "Input is empty.")
        if self.count * STRING_BYTES > self._most_bytes:
            text = f"{self.count} examples take {self.count * STRING_BYTES} bytes, more than the limit of {self._most_bytes}"
            raise ServingError(Code.RESOURCE_EXHAUSTED, text)
        rows, context = list(self._examples), self._context
        self._examples, self._context = (), b""
        return with_context(context, rows, self._most_bytes)


def fed(rows: list[bytes], signature: Signature) -> list[Tensor]:
    """What a checked signature's one input gets. Raises ServingError (INVALID_ARGUMENT) where that takes no strings."""
    dtype, shape, values = example_inputs(rows, signature)
    return [Tensor(dtype_of(dtype), shape, values)]
