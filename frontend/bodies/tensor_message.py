"""The MessagePack messages of requests and answers: maps whose tensors are bytes, in the message or in frames behind it.

A request: `{"v": 1, "id": any scalar, "model": str, "version": int, "label": str, "signature": str, "outputs": [str],
"timeout_ms": int, "priority": "high" or "low", "inputs": [[name, dtype, shape, data], …]}`, where `data` is
little-endian bytes, row by row; or the index of a further frame; or, for strings, an array of them. Only `inputs` must be
there. Unknown fields mean nothing.

An answer: `{"v": 1, "id", "model", "version", "signature", "outputs": [[name, dtype, shape, data], …]}`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from frontend.bodies.arrays import element_count, invalid, limit_strings, tensor_of_bytes
from frontend.bodies.asked import readable
from frontend.bodies.body_options import Buffer
from frontend.bodies.element_types import EXPECTED, named_dtype
from frontend.bodies.message_reader import read_message
from frontend.bodies.npy import bytes_of
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.priority import PRIORITIES, lowness
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import STRING, DType

_MOST_INPUTS: Final = 1024
_MOST_BAD: Final = 16  # bad fields that one error names
_INT64: Final = 1 << 63
_MOST_TIMEOUT_MS: Final = (1 << 31) - 1
_MILLISECOND: Final = 1_000_000
_MAP: Final = 0x80  # a small map, and its length
_FIELDS: Final = 6  # of every answer
_MOST_KEPT: Final = 1024  # of what comes in one answer after the other
_V_AND_ID: Final = msgpack.packb("v") + msgpack.packb(1) + msgpack.packb("id")
_OUTPUTS: Final = msgpack.packb("outputs")
#: Outputs of at least so many bytes are frames of their own, where a message has frames.
INLINE_BELOW: Final = 64 << 10
_BINS: Final = (
    (1 << 8, struct.Struct(">BB"), 0xC4),
    (1 << 16, struct.Struct(">BH"), 0xC5),
    (1 << 32, struct.Struct(">BI"), 0xC6),
)


class MessageError(ServingError):
    """A message that could be read so far that its `id` is known."""

    def __init__(self, code: Code, message: str, identifier: Any = None) -> None:
        super().__init__(code, message)
        self.identifier = identifier


class TensorRequest(NamedTuple):
    """`identifier`: the message's "id"; "" and None for what it does not say; `timeout` in ns; `key`: requests of a label
    that is split go the same way where this is the same; `low`: it is of low priority.
    """

    identifier: Any
    model: str
    version: int | None
    label: str | None
    signature: str
    outputs: tuple[str, ...]
    timeout: int | None
    inputs: dict[str, Tensor]
    key: str | None = None
    low: bool | None = None


def read_request(message: Buffer, most_bytes: int, frames: Sequence[Buffer] = ()) -> TensorRequest:
    """Numbers are views of the message or of its frames. Raises ServingError, which names every bad field.

    `most_bytes`: of the tensors on their way to a worker.
    """
    fields = read_message(message, most_bytes)
    if not isinstance(fields, dict):
        raise invalid(f"the message is a {kind_of(fields)}; expected a map with inputs")
    return request_of(fields, most_bytes, frames)


def identifier_of(fields: Mapping[str, Any]) -> Any:
    """The "id" as it is sent back. Raises ServingError (INVALID_ARGUMENT) for what none may be."""
    identifier = fields.get("id")
    if isinstance(identifier, memoryview):
        return bytes(identifier)
    if not isinstance(identifier, str | int | float | bytes | None):
        raise invalid(f"id: {_shown(identifier)}; expected text, a number, bytes, a bool or nil")
    return identifier


def request_of(fields: Mapping[str, Any], most_bytes: int, frames: Sequence[Buffer] = ()) -> TensorRequest:
    """Of a message that was unpacked: as `read_request`."""
    bad: list[str] = []
    identifier = None
    try:
        identifier = identifier_of(fields)
    except ServingError as error:
        bad.append(error.message)

    def field(name: str, accepts: Callable[[Any], bool], expected: str) -> Any:
        value = fields.get(name)
        if value is None or accepts(value):
            return value
        bad.append(f"{name}: {_shown(value)}; expected {expected}")
        return None

    priority = field("priority", _is_priority, PRIORITIES)
    field("v", lambda value: value == 1 and type(value) is int, "1, the only version of this message")
    outputs = field("outputs", _are_names, "an array of names")
    timeout = field("timeout_ms", _is_timeout, f"whole milliseconds from 1 to {_MOST_TIMEOUT_MS}")
    inputs = _inputs(fields.get("inputs"), frames, most_bytes, bad)
    request = TensorRequest(
        identifier,
        readable(field("model", _is_text, "text") or ""),
        field("version", _is_version, "a whole number of at most 63 bits"),
        _readable_or_none(field("label", _is_text, "text")),
        readable(field("signature", _is_text, "text") or ""),
        tuple(map(readable, outputs or ())),
        timeout and timeout * _MILLISECOND,
        inputs,
        _readable_or_none(field("key", _is_text, "text")),
        None if priority is None else lowness(priority),
    )
    if bad:
        more = f", and {len(bad) - _MOST_BAD} more" if len(bad) > _MOST_BAD else ""
        text = f"The message has bad fields: {', '.join(bad[:_MOST_BAD])}{more}"
        raise MessageError(Code.INVALID_ARGUMENT, text, identifier)
    return request


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_priority(value: Any) -> bool:
    return isinstance(value, str) and lowness(value) is not None


def _is_version(value: Any) -> bool:
    return type(value) is int and 0 <= value < _INT64


def _is_timeout(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MOST_TIMEOUT_MS


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _readable_or_none(text: str | None) -> str | None:
    return readable(text) if text else None


def _inputs(sent: Any, frames: Sequence[Buffer], most_bytes: int, bad: list[str]) -> dict[str, Tensor]:
    """What is wrong is added to `bad`. Raises ServingError where it would take too much memory."""
    tensors: dict[str, Tensor] = {}
    if not isinstance(sent, list) or len(sent) > _MOST_INPUTS:
        bad.append(f"inputs: {_shown(sent)}; expected an array of at most {_MOST_INPUTS} [name, dtype, shape, data]")
        return tensors
    for index, entry in enumerate(sent):
        if not isinstance(entry, list) or len(entry) != 4 or not isinstance(entry[0], str):
            bad.append(f"inputs[{index}]: {_shown(entry)}; expected [name, dtype, shape, data]")
            continue
        name = readable(entry[0])
        if name in tensors:
            bad.append(f"inputs[{index}]: {name!r} is there twice; expected each name once")
            continue
        try:
            tensors[name] = _tensor(entry[1], entry[2], entry[3], frames, most_bytes)
        except ServingError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            bad.append(f"inputs[{index}] ({readable(name)}): {error.message}")
    return tensors


def _tensor(dtype_name: Any, shape: Any, data: Any, frames: Sequence[Buffer], most_bytes: int) -> Tensor:
    dtype = named_dtype(dtype_name) if isinstance(dtype_name, str) else None
    if dtype is None:
        raise invalid(f"dtype: {_shown(dtype_name)}; expected {EXPECTED}")
    if not isinstance(shape, list) or not all(type(dim) is int for dim in shape):
        raise invalid(f"shape: {_shown(shape)}; expected an array of whole numbers")
    if dtype is STRING:
        return Tensor(dtype, tuple(shape), _strings(data, element_count(shape), most_bytes))
    return tensor_of_bytes(dtype, tuple(shape), _bytes(data, dtype, frames))


def _bytes(data: Any, dtype: DType, frames: Sequence[Buffer]) -> Buffer:
    if isinstance(data, bytes | bytearray | memoryview):
        return data
    if type(data) is int and 0 <= data < len(frames):
        return frames[data]
    where = f", or the index of one of {len(frames)} frames" if frames else ""
    raise invalid(f"data: {_shown(data)}; expected the bytes of {dtype.name} (a bin){where}")


def _strings(data: Any, count: int, most_bytes: int) -> list[bytes]:
    if not isinstance(data, list) or len(data) != count:
        found = f"an array of {len(data)}" if isinstance(data, list) else _shown(data)
        raise invalid(f"data: {found}; expected an array of {count} strings, row by row")
    strings = []
    for string in data:
        if isinstance(string, str):
            strings.append(string.encode("utf-8", "surrogateescape"))
        elif isinstance(string, bytes | memoryview):
            strings.append(bytes(string))
        else:
            raise invalid(f"data: {_shown(string)} among the strings; expected texts (str) or bytes (bin)")
    limit_strings(count, sum(map(len, strings)), most_bytes)
    return strings


def _shown(value: Any) -> str:
    """A value in an error's text: what it is, and the value itself where it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(readable(value[:64]))
    if isinstance(value, bool | int | float):
        return f"{value!r}"
    return f"{kind_of(value)} of {len(value)}" if hasattr(value, "__len__") else kind_of(value)


def kind_of(value: Any) -> str:
    """What it is in a message."""
    kinds: dict[type, str] = {dict: "map", list: "array", bytes: "bin", memoryview: "bin", str: "str", int: "int"}
    return kinds.get(type(value), type(value).__name__.lower())


class NamedOutput(NamedTuple):
    """An output, and the alias that it goes by."""

    alias: str
    tensor: Tensor


def answer_parts(
    identifier: Any, servable: ServableId, signature: Signature, outputs: Sequence[NamedOutput]
) -> list[Buffer]:
    """An answer, whose parts are to be joined; the numbers are where they were."""
    parts: list[Buffer] = [_answer_head(identifier, servable, signature, len(outputs))]
    for alias, tensor in outputs:
        parts.append(_output_head(alias, tensor))
        if isinstance(tensor.data, list):
            parts.append(msgpack.packb(tensor.data))
        else:
            data = bytes_of(tensor.data)
            parts += [_bin_head(len(data)), data]
    return parts


def answer_frames(
    identifier: Any, servable: ServableId, signature: Signature, outputs: Sequence[NamedOutput], errors: Any = None
) -> list[bytes]:
    """An answer whose large outputs are frames that follow the message, their `data` the frames' indices. All of it is
    copied: the client may take it whenever it likes. `errors`: what the message says besides, if anything.
    """
    head: list[Buffer] = [_answer_head(identifier, servable, signature, len(outputs), errors)]
    frames: list[bytes] = []
    for alias, tensor in outputs:
        head.append(_output_head(alias, tensor))
        if isinstance(tensor.data, list):
            head.append(msgpack.packb(tensor.data))
        elif tensor.data.nbytes < INLINE_BELOW:
            data = bytes_of(tensor.data)
            head += [_bin_head(len(data)), data]
        else:
            head.append(msgpack.packb(len(frames)))
            frames.append(tensor.data.tobytes())
    return [b"".join(head), *frames]


def _answer_head(identifier: Any, servable: ServableId, signature: Signature, outputs: int, errors: Any = None) -> bytes:
    """The message up to its first output."""
    given_back: bytes = msgpack.packb(identifier, unicode_errors="surrogateescape")
    if errors:
        more = msgpack.packb("errors") + msgpack.packb(errors)
        return b"".join((_begin(1), given_back, more, _behind_id(servable, signature.name, outputs)))
    return b"".join((_begin(0), given_back, _behind_id(servable, signature.name, outputs)))


def _begin(more: int) -> bytes:
    """Up to the id; so many fields `more` than there are always."""
    head: bytes = bytes((_MAP + _FIELDS + more,)) + _V_AND_ID
    return head


@functools.lru_cache(_MOST_KEPT)
def _behind_id(servable: ServableId, signature: str, outputs: int) -> bytes:
    """The same in all answers of a signature, between their ids and their outputs."""
    fields = {"model": servable.name, "version": servable.version, "signature": signature}
    packed = (msgpack.packb(part) for field in fields.items() for part in field)
    head: bytes = b"".join((*packed, _OUTPUTS, msgpack.Packer().pack_array_header(outputs)))
    return head


def answer_heads(servable: ServableId, signature: Signature, outputs: Sequence[NamedOutput]) -> tuple[bytes, list[bytes]]:
    """What answers have in common that differ in their ids and in the numbers of small outputs alone: what stands before
    the id, and what stands before each output's numbers, first of all what is between the id and them.
    """
    whole = _answer_head(None, servable, signature, len(outputs))
    at = 1 + len(_V_AND_ID)
    heads = [_output_head(alias, tensor) + _bin_head(tensor.data.nbytes) for alias, tensor in outputs]  # type: ignore[union-attr]
    heads[0] = whole[at + 1 :] + heads[0]  # nil takes one byte
    return whole[:at], heads


def _output_head(alias: str, tensor: Tensor) -> bytes:
    """An output up to its data, the fourth of its values."""
    return _packed_head(alias, tensor.dtype.name, tensor.shape)


@functools.lru_cache(_MOST_KEPT)
def _packed_head(alias: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    packed: bytes = msgpack.packb((alias, dtype, shape))
    return b"".join((bytes((packed[0] + 1,)), packed[1:]))


def _bin_head(size: int) -> bytes:
    for limit, form, code in _BINS:
        if size < limit:
            return form.pack(code, size)
    raise ServingError(Code.RESOURCE_EXHAUSTED, f"An output of {size} bytes is more than the 4 GiB that a message carries")
