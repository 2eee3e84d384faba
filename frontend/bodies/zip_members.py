"""Members of a ZIP archive in memory: found by its directory, sizes checked before anything is inflated."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from frontend.bodies.arrays import invalid, too_large
from frontend.bodies.body_options import Buffer

_END: Final = struct.Struct("<4sHHHHIIH")
_ENTRY: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_END_MARK: Final = b"PK\x05\x06"
_ENTRY_MARK: Final = b"PK\x01\x02"
_LOCAL_MARK: Final = b"PK\x03\x04"
_MOST_COMMENT: Final = 65535
_MOST_MEMBERS: Final = 1024
_ELSEWHERE16: Final = 0xFFFF  # what stands where ZIP64 has the number
_ELSEWHERE32: Final = 0xFFFFFFFF
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
_STORED: Final = 0
_DEFLATED: Final = 8
_PACKED_PIECE: Final = 64 << 10  # bytes that are inflated at a time
_PIECE: Final = 1 << 18  # bytes that come of it at a time
_EXPECTED: Final = "expected the bytes that numpy.savez writes"


class Member(NamedTuple):
    """An entry of the directory: sizes in bytes, `offset` of its local header."""

    name: str
    method: int
    checksum: int
    packed: int
    size: int
    offset: int


def read_members(archive: Buffer, most_bytes: int) -> Iterator[tuple[str, memoryview]]:
    """Names and contents; those that are stored are views of the archive. Raises ServingError.

    `most_bytes`: of all contents together, as the directory announces them. The checksum of a stored member is not looked
    at: it costs more than all the rest.
    """
    view = memoryview(archive)
    members = list(_directory(view))
    total = sum(member.size for member in members)
    if total > most_bytes:
        raise too_large(f"the archive's members take {total} bytes", most_bytes)
    for member in members:
        yield member.name, _contents(view, member)


def inflated_bytes(archive: Buffer) -> int:
    """Bytes that have to be inflated, as the directory announces them. Raises ServingError."""
    return sum(member.size for member in _directory(memoryview(archive)) if member.method == _DEFLATED)


def _directory(view: memoryview) -> Iterator[Member]:
    at, count = _end(view)
    for _ in range(count):
        if at + _ENTRY.size > len(view):
            raise invalid(f"the archive ends in its directory: {_EXPECTED}")
        (mark, _, _, flags, method, _, _, checksum, packed, size, name, extra, comment, disk, _, _, offset) = (
            _ENTRY.unpack_from(view, at)
        )
        at += _ENTRY.size
        if mark != _ENTRY_MARK or at + name > len(view) or disk:
            raise invalid(f"the archive's directory is damaged: {_EXPECTED}")
        text = bytes(view[at : at + name]).decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
            raise invalid(f"the archive's member {text!r} is encrypted or packed by method {method}; expected 0 or 8")
        if _ELSEWHERE32 in (packed, size, offset):
            raise invalid("ZIP64 archives are not read; expected members of less than 4 GiB")
        yield Member(text, method, checksum, packed, size, offset)
        at += name + extra + comment


def _end(view: memoryview) -> tuple[int, int]:
    """Where the directory begins, and how many members it has."""
    tail = bytes(view[-(_END.size + _MOST_COMMENT) :])
    at = tail.rfind(_END_MARK)
    if at < 0 or at + _END.size > len(tail):
        raise invalid(f"no ZIP archive: {_EXPECTED}")
    _, disk, _, _, count, _, offset, _ = _END.unpack_from(tail, at)
    if count == _ELSEWHERE16 or offset == _ELSEWHERE32:
        raise invalid("ZIP64 archives are not read; expected fewer than 65535 members")
    if disk or count > _MOST_MEMBERS:
        raise invalid(f"an archive of {count} members; expected at most {_MOST_MEMBERS}, on one disk")
    return offset, count


def _contents(view: memoryview, member: Member) -> memoryview:
    if member.offset + _LOCAL.size > len(view):
        raise _damaged(member)
    header = _LOCAL.unpack_from(view, member.offset)
    begin = member.offset + _LOCAL.size + header[9] + header[10]
    packed = view[begin : begin + member.packed]
    if header[0] != _LOCAL_MARK or len(packed) != member.packed:
        raise _damaged(member)
    if member.method == _DEFLATED:
        return _inflated(packed, member)
    if member.packed != member.size:
        raise _damaged(member)
    return packed


def _inflated(packed: memoryview, member: Member) -> memoryview:
    # Not a bytearray, which would be filled with zeros: a size that is a lie takes no memory.
    contents = np.empty(member.size, np.uint8).data
    at = checksum = 0
    try:
        for piece in _pieces(packed):
            end = at + len(piece)
            if end > member.size:
                raise _damaged(member)
            contents[at:end] = piece
            checksum = zlib.crc32(piece, checksum)
            at = end
    except zlib.error:
        raise _damaged(member) from None
    if at != member.size or checksum != member.checksum:
        raise _damaged(member)
    return contents


def _pieces(packed: memoryview) -> Iterator[bytes]:
    """What is inflated, piece by piece: other threads have their turn meanwhile. Raises zlib.error, also for a part."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    at = 0
    while not stream.eof:
        given: Buffer = stream.unconsumed_tail
        if not given:
            given, at = packed[at : at + _PACKED_PIECE], at + _PACKED_PIECE
        piece = stream.decompress(given, _PIECE)
        if not piece and not given:
            raise zlib.error("the stream has no end")
        yield piece


def _damaged(member: Member) -> Exception:
    return invalid(f"the archive's member {member.name!r} is damaged: {_EXPECTED}")
