"""Writes a ZIP archive of stored members, with one copy of their contents."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from frontend.bodies.body_options import Buffer
from ringserve.errors import Code, ServingError

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_ENTRY: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
_VERSION: Final = 20  # of the format: directories and nothing newer
_UTF8: Final = 0x800
_NEW_YEAR_1980: Final = 0x21  # the format's oldest day: answers have no date of their own
_MOST: Final = 0xFFFFFFFF


def zip_archive(members: Iterable[tuple[str, Sequence[Buffer]]]) -> bytes:
    """`members`: names, and contents in parts. Raises ServingError (RESOURCE_EXHAUSTED) beyond 4 GiB."""
    parts: list[Buffer] = []
    entries: list[bytes] = []
    at = 0
    for name, contents in members:
        head, entry = _headers(name, contents, at)
        at += len(head) + sum(map(len, contents))
        parts += [head, *contents]
        entries.append(entry)
        if at > _MOST:
            raise ServingError(Code.RESOURCE_EXHAUSTED, "The outputs take more than the 4 GiB of an .npz file")
    directory = b"".join(entries)
    end = _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), at, 0)
    return b"".join([*parts, directory, end])


def _headers(name: str, contents: Sequence[Buffer], offset: int) -> tuple[bytes, bytes]:
    """What stands before the contents, and the member's entry in the directory."""
    text = name.encode()
    flags = 0 if text.isascii() else _UTF8
    size = sum(map(len, contents))
    if size > _MOST:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"The output {name} takes more than the 4 GiB of an .npz file's member")
    checksum = 0
    for part in contents:
        checksum = zlib.crc32(part, checksum)
    fields = (_VERSION, flags, 0, 0, _NEW_YEAR_1980, checksum, size, size, len(text), 0)
    head = _LOCAL.pack(b"PK\x03\x04", *fields) + text
    entry = _ENTRY.pack(b"PK\x01\x02", _VERSION, *fields, 0, 0, 0, 0, offset) + text
    return head, entry
