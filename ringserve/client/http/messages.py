"""Predict requests as MessagePack bodies, whose large arrays are not copied together."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import msgpack
import numpy as np

from ringserve.client.operations import Predict
from ringserve.client.tensor_message import Buffer, named_fields, packed
from ringserve.client.tensors import Array
from ringserve.errors import Code, ServingError

MSGPACK: Final = "application/x-msgpack"

_JOINED: Final = 64 << 10  # bytes of a part that is sooner copied than sent by itself
_BINS: Final = (
    (1 << 8, struct.Struct(">BB"), 0xC4),
    (1 << 16, struct.Struct(">BH"), 0xC5),
    (1 << 32, struct.Struct(">BI"), 0xC6),
)


def predict_body(operation: Predict, timeout: float | None) -> list[Buffer]:
    """The message's parts. `timeout` in seconds. Raises ServingError (INVALID_ARGUMENT)."""
    fields = named_fields(operation.which, operation.signature, timeout, None, low=False)  # the rest goes into headers
    if operation.outputs:
        fields["outputs"] = operation.outputs
    parts = [*_one_more(packed(fields)), msgpack.packb("inputs"), msgpack.Packer().pack_array_header(len(operation.inputs))]
    for alias, (dtype, shape, values) in operation.inputs.items():
        parts += _one_more(msgpack.packb((alias, dtype.name, tuple(shape))))
        parts += [msgpack.packb(values)] if isinstance(values, list) else _bin(values)
    return joined(parts)


def joined(parts: Sequence[Buffer]) -> list[Buffer]:
    """Small neighbours in one: what is sent by itself costs a system call."""
    body: list[Buffer] = []
    small: list[Buffer] = []
    for part in parts:
        if len(part) < _JOINED:
            small.append(part)
            continue
        body += (b"".join(small), part)
        small = []
    return [*body, b"".join(small)] if small else body


def _one_more(container: bytes) -> list[Buffer]:
    """A short map or array with another element to come: its first byte says how many there are."""
    return [bytes((container[0] + 1,)), container[1:]]


def _bin(values: Array) -> list[Buffer]:
    data: Buffer = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data if values.size else b""
    for limit, form, code in _BINS:
        if len(data) < limit:
            return [form.pack(code, len(data)), data]
    raise ServingError(Code.INVALID_ARGUMENT, f"An input of {len(data)} bytes; a message carries 4 GiB at most")
