"""The header of a .npy file: read without evaluating it, and written.

numpy's own reader evaluates the header as Python. This one knows the only form that headers of plain arrays have:
a dict of `descr`, `fortran_order` and `shape`, in any order.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Final, NamedTuple

from frontend.bodies.arrays import element_count, invalid
from frontend.bodies.body_options import Buffer

_MAGIC: Final = b"\x93NUMPY"
_VERSIONS: Final = {(1, 0): ("<H", "latin-1"), (2, 0): ("<I", "latin-1"), (3, 0): ("<I", "utf-8")}
_MOST_HEADER: Final = 10_000  # bytes, as numpy
_MOST_REMEMBERED: Final = 512
_ALIGNMENT: Final = 64  # of the data, as numpy writes it
_EXPECTED: Final = "expected the bytes that numpy.save writes"
_ITEM: Final = re.compile(
    r"""\s*(?P<mark>['"])(?P<key>descr|fortran_order|shape)(?P=mark)\s*:\s*"""
    r"""(?:'(?P<text>[^'"\\]*)'|"(?P<text2>[^'"\\]*)"|(?P<flag>True|False)|\((?P<dims>[0-9L,\s]*)\))"""
    r"""\s*(?:,|(?=\}))"""
)
_STRUCTURED: Final = re.compile(r"""['"]descr['"]\s*:\s*[\[(]""")
_DIM: Final = re.compile(r"\s*([0-9]{1,19})L?\s*")


class NpyHeader(NamedTuple):
    """`order`: "<", ">", "=" or "|"; `kind`: numpy's letter and size of an element, "f4", "S5"."""

    order: str
    kind: str
    fortran: bool
    shape: tuple[int, ...]


def read_header(data: Buffer) -> tuple[NpyHeader, int]:
    """The header at the start of the data, and where the elements begin. Raises ServingError (INVALID_ARGUMENT)."""
    if bytes(data[:6]) != _MAGIC or len(data) < 10:
        raise invalid(f"no .npy data: {_EXPECTED}")
    form = _VERSIONS.get((data[6], data[7]))
    if form is None:
        raise invalid(f".npy data of format version {data[6]}.{data[7]}; expected 1.0, 2.0 or 3.0")
    length, encoding = form
    begin = 8 + struct.calcsize(length)
    if len(data) < begin:
        raise invalid(f".npy data ends in its header: {_EXPECTED}")
    size: int = struct.unpack_from(length, data, 8)[0]
    if size > _MOST_HEADER or begin + size > len(data):
        raise invalid(f".npy data with a header of {size} bytes; expected at most {_MOST_HEADER}, and all of them")
    header = bytes(data[begin : begin + size])
    if size <= _MOST_REMEMBERED:
        return _parsed_before(header, encoding), begin + size
    return _parse(header, encoding), begin + size


def _parse(header: bytes, encoding: str) -> NpyHeader:
    try:
        text = header.decode(encoding).strip()
    except UnicodeDecodeError:
        raise invalid(f".npy header is no text: {_EXPECTED}") from None
    found: dict[str, re.Match[str]] = {}
    at = 1
    while text.startswith("{") and (item := _ITEM.match(text, at)) is not None:
        found[item["key"]] = item
        at = item.end()
    if _STRUCTURED.search(text, at) is not None:
        raise invalid(".npy data of a structured type; expected an array of numbers, bools or strings")
    if text[at:].strip() != "}" or len(found) != 3:
        raise _malformed(text)
    descr, flag, dims = found["descr"], found["fortran_order"]["flag"], found["shape"]["dims"]
    name = descr["text"] or descr["text2"]
    if not name or flag is None or dims is None:
        raise _malformed(text)
    order, kind = (name[0], name[1:]) if name[0] in "<>=|" else ("|", name)
    shape = _shape(dims, text)
    element_count(shape)
    return NpyHeader(order, kind, flag == "True", shape)


_parsed_before = lru_cache(256)(_parse)  # a client's arrays are mostly of one shape


def _shape(dims: str, text: str) -> tuple[int, ...]:
    parts = dims.split(",")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    elif len(parts) == 1:
        if dims.strip():
            raise _malformed(text)  # a number in brackets is no tuple
        return ()
    sizes = []
    for part in parts:
        match = _DIM.fullmatch(part)
        if match is None:
            raise _malformed(text)
        sizes.append(int(match[1]))
    return tuple(sizes)


def _malformed(text: str) -> Exception:
    expected = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }"
    return invalid(f".npy header {text[:256]!r} is malformed; expected one like {expected}")


@lru_cache(256)
def header_bytes(descr: str, shape: tuple[int, ...]) -> bytes:
    """The header of an array in C order, up to where its elements begin."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}"
    size = len(text) + 1
    padded = size + -(10 + size) % _ALIGNMENT
    return _MAGIC + b"\x01\x00" + struct.pack("<H", padded) + text.encode().ljust(padded - 1) + b"\n"
