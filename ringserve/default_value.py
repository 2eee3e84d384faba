"""What an input of a signature is where a request leaves it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ringserve.errors import Code, ServingError
from ringserve.tensor_proto import DEFAULT_MOST_BYTES, DecodedTensor
from ringserve.tensor_proto_reader import read_tensor


@dataclass(slots=True, unsafe_hash=True)
class DefaultValue:
    """An entry of a SignatureDef's `defaults`. `message`: a serialised TensorProto; both stay as they are."""

    alias: str
    message: bytes
    _decoded: DecodedTensor | None = field(default=None, init=False, repr=False, compare=False)

    def to_wire(self) -> list[Any]:
        return [self.alias, self.message]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> DefaultValue:
        alias, message = wire
        return cls(alias, message)

    def decode(self, most_bytes: int = DEFAULT_MOST_BYTES) -> DecodedTensor:
        """The same object each time, not to be changed. `most_bytes`: as `UnreadTensor.decode` has it, the first time.

        Raises ServingError: INVALID_ARGUMENT with upstream's text where there is no such tensor, or RESOURCE_EXHAUSTED.
        """
        if self._decoded is None:
            try:
                decoded = read_tensor(self.message, most_bytes)
            except ServingError as error:
                if error.code is Code.INVALID_ARGUMENT:
                    raise ServingError(error.code, f"tensor parsing error: {self.alias}") from error
                raise
            if not isinstance(decoded.values, list):
                decoded.values.setflags(write=False)
            self._decoded = decoded
        return self._decoded
