"""PredictRequest and PredictResponse messages from the wire: both are a ModelSpec and tensors by alias, which stay unread.

Messages as official clients and servers write them are read without a look at more than their outermost fields. All others
are checked throughout first, and mean what they mean to protobuf: fields that come twice are merged, unknown ones ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ringserve.message_layout import MODEL_SPEC, TENSORS, Layout, Packed, check
from ringserve.protobuf_wire import BYTES, MOST_NESTED, VARINT, Buffer, WireError, fields, signed, span, text
from ringserve.tensor_proto_reader import UnreadTensor

_MODEL_SPEC: Final = 1
_INPUTS: Final = 2
_OUTPUT_FILTER: Final = 3
_RESPONSE_MODEL_SPEC: Final = 2
_OUTPUTS: Final = 1
_KEY_TAG: Final = 0x0A
_VALUE_TAG: Final = 0x12
_ABSENT: Final = -1  # no field has this tag

_REQUEST: Final[Layout] = {
    _MODEL_SPEC: MODEL_SPEC,
    _INPUTS: TENSORS,
    _OUTPUT_FILTER: Packed.TEXT,
    5: {2: {1: Packed.TEXT}},  # PredictStreamedOptions
    7: {4: Packed.VARINTS, 13: {}},  # RequestOptions
}
_RESPONSE: Final[Layout] = {_RESPONSE_MODEL_SPEC: MODEL_SPEC, _OUTPUTS: TENSORS}

_MOST_FIELDS: Final = 256  # of a message that clients write; one by one they take less than a ms
_MOST_SPEC_BYTES: Final = 256
_MOST_SPECS: Final = 1024
_MOST_NAMES: Final = 1 << 16


class SentModelSpec(NamedTuple):
    """`version`, `label`: at most one of them isn't None."""

    name: str
    version: int | None
    label: str | None
    signature_name: str


class PredictMessage(NamedTuple):
    """`model_spec` None: there is none. `output_filter`: of a request."""

    model_spec: SentModelSpec | None
    tensors: dict[str, UnreadTensor]
    output_filter: Sequence[str]


_NO_SPEC: Final = SentModelSpec("", None, None, "")
_specs: dict[bytes, SentModelSpec] = {}


def read_request(message: Buffer) -> PredictMessage:
    """A PredictRequest. Raises WireError; so does reading its tensors."""
    plain = _plain(message, _MODEL_SPEC, _INPUTS, _OUTPUT_FILTER)
    return plain or _odd(message, _REQUEST, _MODEL_SPEC, _INPUTS, _OUTPUT_FILTER)


def read_response(message: Buffer) -> PredictMessage:
    """A PredictResponse. Raises WireError; so does reading its tensors."""
    plain = _plain(message, _RESPONSE_MODEL_SPEC, _OUTPUTS, _ABSENT)
    return plain or _odd(message, _RESPONSE, _RESPONSE_MODEL_SPEC, _OUTPUTS, _ABSENT)


def is_plain_request(message: Buffer) -> bool:
    """Is this PredictRequest read in less than a ms, its tensors apart, whatever its length?"""
    try:
        return _plain(message, _MODEL_SPEC, _INPUTS, _OUTPUT_FILTER) is not None
    except WireError:
        return True


def _plain(message: Buffer, spec: int, tensors: int, output_filter: int) -> PredictMessage | None:
    """None: not as clients and servers write it. The numbers are those of the fields."""
    spec_tag, tensors_tag, filter_tag = spec << 3 | BYTES, tensors << 3 | BYTES, output_filter << 3 | BYTES
    found_spec: SentModelSpec | None = None
    found: dict[str, UnreadTensor] = {}
    aliases: list[str] = []
    at, end = 0, len(message)
    for _ in range(_MOST_FIELDS):
        if end - at < 2:
            break
        tag, size = message[at], message[at + 1]
        if size < 0x80:
            begin, stop = at + 2, at + 2 + size
        elif tag not in (tensors_tag, spec_tag, filter_tag):
            return None
        else:
            begin, stop = span(message, at + 1, end)
        if stop > end:
            return None
        if tag == tensors_tag:
            if not _plain_entry(message, begin, stop, found):
                return None
        elif tag == spec_tag:
            if found_spec is not None or stop - begin > _MOST_SPEC_BYTES:  # what is remembered is short
                return None
            key = bytes(message[begin:stop])
            found_spec = _specs.get(key) or _new_spec(key)
        elif tag == filter_tag:
            aliases.append(text(message, begin, stop))
        else:
            return None
        at = stop
    return PredictMessage(found_spec, found, aliases) if at == end else None


def _plain_entry(message: Buffer, at: int, stop: int, found: dict[str, UnreadTensor]) -> bool:
    """An alias and its tensor, one behind the other and no others."""
    if stop - at < 4 or message[at] != _KEY_TAG:
        return False
    begin = at + 2
    end = begin + message[at + 1]
    if end - begin >= 0x80 or end + 2 > stop or message[end] != _VALUE_TAG:
        return False
    alias = text(message, begin, end)
    size = message[end + 1]
    if size < 0x80:
        begin, end = end + 2, end + 2 + size
    else:
        begin, end = span(message, end + 1, stop)
    if end != stop or alias in found:
        return False
    found[alias] = UnreadTensor(message, begin, stop, MOST_NESTED - 2)
    return True


def _new_spec(key: bytes) -> SentModelSpec:
    check(key, 0, len(key), MODEL_SPEC, MOST_NESTED - 1)
    spec = read_model_spec(key, 0, len(key))
    if len(_specs) >= _MOST_SPECS:
        _specs.clear()
    _specs[key] = spec
    return spec


def _odd(message: Buffer, layout: Layout, spec: int, tensors: int, output_filter: int) -> PredictMessage:
    check(message, 0, len(message), layout)
    found_spec: SentModelSpec | None = None
    found: dict[str, UnreadTensor] = {}
    aliases: list[str] = []
    for number, wire, begin, end in fields(message, 0, len(message)):
        if wire != BYTES:
            continue
        if number == spec:
            found_spec = read_model_spec(message, begin, end, found_spec or _NO_SPEC)
        elif number == tensors:
            _read_entry(message, begin, end, found)
        elif number == output_filter:
            aliases.append(text(message, begin, end))
        if len(found) > _MOST_NAMES or len(aliases) > _MOST_NAMES:  # each takes many times its bytes of the message
            raise WireError(f"more than {_MOST_NAMES} tensors or names of outputs")
    return PredictMessage(found_spec, found, aliases)


def _read_entry(message: Buffer, start: int, stop: int, found: dict[str, UnreadTensor]) -> None:
    alias = ""
    where = (0, 0)
    merged = bytearray()
    for number, wire, begin, end in fields(message, start, stop):
        if wire != BYTES:
            continue
        if number == 1:
            alias = text(message, begin, end)
        elif number == 2:
            if where[1]:  # what protobuf makes of two messages is what it would read from both, one behind the other
                if not merged:
                    merged += message[where[0] : where[1]]
                merged += message[begin:end]
            where = (begin, end)
    if merged:
        message, where = bytes(merged), (0, len(merged))
    found[alias] = UnreadTensor(message, *where, MOST_NESTED - 2)


def read_model_spec(message: Buffer, start: int, stop: int, earlier: SentModelSpec = _NO_SPEC) -> SentModelSpec:
    """A ModelSpec between two offsets, merged into an earlier one. Raises WireError, but not if it was checked."""
    name, version, label, signature_name = earlier
    for number, wire, begin, end in fields(message, start, stop):
        if wire != BYTES:
            continue
        if number == 1:
            name = text(message, begin, end)
        elif number == 2:
            version, label = _int64(message, begin, end, version or 0), None
        elif number == 3:
            signature_name = text(message, begin, end)
        elif number == 4:
            version, label = None, text(message, begin, end)
    return SentModelSpec(name, version, label, signature_name)


def _int64(message: Buffer, start: int, stop: int, value: int) -> int:
    """An Int64Value that is merged into one of `value`."""
    for number, wire, sent, _ in fields(message, start, stop):
        if number == 1 and wire == VARINT:
            value = signed(sent)
    return value
