"""What there is to check in messages before any of their fields is believed: texts, packed numbers, messages inside."""

from __future__ import annotations

import enum
from typing import Any, Final

from ringserve.packed_varints import check_packed
from ringserve.protobuf_wire import BYTES, MOST_NESTED, Buffer, WireError, fields, text


class Packed(enum.Enum):
    """What the bytes of a field are, where they can't be just any."""

    TEXT = 1
    VARINTS = enum.auto()
    FIXED32 = enum.auto()
    FIXED64 = enum.auto()


#: Of each field with bytes that can be wrong, by its number: what they are, or the layout of the message that they are.
Layout = dict[int, Any]

SHAPE: Final[Layout] = {2: {2: Packed.TEXT}}
TENSOR: Final[Layout] = {
    2: SHAPE,
    **dict.fromkeys((7, 10, 11, 13, 16, 17), Packed.VARINTS),
    **dict.fromkeys((5, 9), Packed.FIXED32),
    **dict.fromkeys((6, 12), Packed.FIXED64),
    14: {**dict.fromkeys((1, 2, 3, 5), Packed.TEXT), 6: {2: SHAPE}},  # ResourceHandleProto
}
TENSOR[15] = {1: Packed.TEXT, 3: TENSOR}  # VariantTensorDataProto
TENSORS: Final[Layout] = {1: Packed.TEXT, 2: TENSOR}  # an entry of a map
MODEL_SPEC: Final[Layout] = {1: Packed.TEXT, 2: {}, 3: Packed.TEXT, 4: Packed.TEXT}


def check(message: Buffer, start: int, stop: int, layout: Layout, depth: int = MOST_NESTED) -> None:
    """Raises WireError where what lies between two offsets is no message of this layout.

    `depth`: how many messages and groups may be inside each other in it.
    """
    if depth < 0:
        raise WireError("too many messages inside each other")
    for number, wire, begin, end in fields(message, start, stop, depth):
        if wire != BYTES:
            continue
        what = layout.get(number)
        if what is None:
            continue
        if isinstance(what, dict):
            check(message, begin, end, what, depth - 1)
        elif what is Packed.TEXT:
            text(message, begin, end)
        elif what is Packed.VARINTS:
            check_packed(message, begin, end)
        elif (end - begin) % (4 if what is Packed.FIXED32 else 8):
            raise WireError(f"the packed numbers at byte {begin} have no whole length")
