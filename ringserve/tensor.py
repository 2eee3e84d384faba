"""TensorFlow's element types, as far as a model server meets them. Knows nothing of TensorFlow itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: TensorFlow's `number` and lower-case `name`, and how its bytes lie.

    `numpy` is the numpy type string that stores it, little-endian, or "" where elements have no fixed size. bfloat16,
    which numpy lacks, is stored as its 16-bit pattern.
    """

    number: int
    name: str
    numpy: str


_TABLE: Final = (
    DType(1, "float", "<f4"),
    DType(2, "double", "<f8"),
    DType(3, "int32", "<i4"),
    DType(4, "uint8", "|u1"),
    DType(5, "int16", "<i2"),
    DType(6, "int8", "|i1"),
    DType(7, "string", ""),
    DType(8, "complex64", "<c8"),
    DType(9, "int64", "<i8"),
    DType(10, "bool", "|b1"),
    DType(11, "qint8", "|i1"),
    DType(12, "quint8", "|u1"),
    DType(13, "qint32", "<i4"),
    DType(14, "bfloat16", "<u2"),
    DType(15, "qint16", "<i2"),
    DType(16, "quint16", "<u2"),
    DType(17, "uint16", "<u2"),
    DType(18, "complex128", "<c16"),
    DType(19, "half", "<f2"),
    DType(20, "resource", ""),
    DType(21, "variant", ""),
    DType(22, "uint32", "<u4"),
    DType(23, "uint64", "<u8"),
)

DTYPES: Final = {dtype.number: dtype for dtype in _TABLE}
BY_NAME: Final = {dtype.name: dtype for dtype in _TABLE}
STRING: Final = BY_NAME["string"]
_REFERENCE: Final = 100  # DT_FLOAT_REF and so on: what TF1 exports may declare


def dtype_of(number: int) -> DType:
    """The type with this number; a reference type counts as what it refers to. Unknown ones have no storage."""
    number = number - _REFERENCE if number > _REFERENCE else number
    return DTYPES.get(number) or DType(number, f"type_{number}", "")
