"""MessagePack whose large values stay where they are.

The msgpack package copies all bytes. This reader makes views of them instead, and is plain Python: a message has few
values besides its bytes, and one with many is refused. Long arrays, which are of strings, go to the package.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import Any, Final

import msgpack

from frontend.bodies.arrays import invalid, limit_strings
from frontend.bodies.body_options import Buffer
from ringserve.tensor_proto import STRING_BYTES

_SMALL: Final = 4096  # bytes of a message that the package reads faster, copies and all
_MOST_AT_ONCE: Final = 256  # elements for which the package makes room before it has seen them, in each nested array
_LONG: Final = 32  # elements of an array that is sooner left to the package
_MOST_VALUES: Final = 1 << 15
_MOST_NESTED: Final = 32
_CHUNK: Final = 64 << 10  # bytes that the package gets at a time
_ERRORS: Final = (ValueError, TypeError, msgpack.UnpackException)
_EXPECTED: Final = "expected one MessagePack map"

_NUMBERS: Final = {
    0xCA: struct.Struct(">f"), 0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"), 0xCD: struct.Struct(">H"), 0xCE: struct.Struct(">I"), 0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"), 0xD1: struct.Struct(">h"), 0xD2: struct.Struct(">i"), 0xD3: struct.Struct(">q"),
}  # fmt: skip
_LENGTHS: Final = {1: struct.Struct(">B"), 2: struct.Struct(">H"), 4: struct.Struct(">I")}
# Of each type with a length before it: what it is, and how many bytes its length has.
_SIZED: Final = {
    0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4), 0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4),
    0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4), 0xDC: ("array", 2), 0xDD: ("array", 4),
    0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip
_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}


class Extension:
    """Stands for a value of an extension type, none of which mean anything here."""


_EXTENSION: Final = Extension()


def read_message(body: Buffer, most_bytes: int) -> Any:
    """The value that the body is. Bytes may be views of it; text that is no UTF-8 has surrogates in it.

    Raises ServingError (INVALID_ARGUMENT) for what is no MessagePack, is nested deeply, or has too many values.
    `most_bytes`: of a long array's strings on their way to a worker.
    """
    if len(body) <= _SMALL:
        try:
            return msgpack.unpackb(body, unicode_errors="surrogateescape", ext_hook=_extension, max_array_len=_MOST_AT_ONCE)
        except _ERRORS:
            pass  # what is wrong, if anything is, the other reader knows
    reader = _Reader(body, most_bytes)
    try:
        value = reader.value(0)
    except (IndexError, struct.error):
        raise invalid(f"the message ends inside a value: {_EXPECTED}") from None
    if reader.at != len(reader.view):
        raise invalid(f"the message has {len(reader.view) - reader.at} bytes behind its end: {_EXPECTED}")
    return value


def has_many_strings(body: Buffer, most: int) -> bool:
    """Are there more than `most` values in the long arrays of the message? No more of them than that are read.

    Raises ServingError (INVALID_ARGUMENT) as `read_message` does. A message that ends too early has not many.
    """
    skimmer = _Skimmer(body, most)
    try:
        skimmer.value(0)
    except _ManyStringsError:
        return True
    except (IndexError, struct.error):
        pass  # whoever reads it will say so
    return False


def _extension(code: int, data: bytes) -> Extension:
    return _EXTENSION


class _Reader:
    def __init__(self, body: Buffer, most_bytes: int) -> None:
        self.view = memoryview(body)
        self.at = 0
        self._left = _MOST_VALUES
        self._most_bytes = most_bytes

    def value(self, depth: int) -> Any:
        """The next value. Raises IndexError or struct.error where the message ends inside it."""
        self._left -= 1
        if self._left < 0 or depth > _MOST_NESTED:
            raise invalid(f"the message has more than {_MOST_VALUES} values or {_MOST_NESTED} levels: {_EXPECTED}")
        code = self.view[self.at]
        self.at += 1
        if code < 0x80:
            return code
        if code >= 0xE0:
            return code - 0x100
        return self._short(code, depth) if code < 0xC0 else self._long(code, depth)

    def _long(self, code: int, depth: int) -> Any:
        number, sized = _NUMBERS.get(code), _SIZED.get(code)
        if number is not None:
            begin, self.at = self.at, self.at + number.size
            return number.unpack_from(self.view, begin)[0]
        if sized is not None:
            length = _LENGTHS[sized[1]]
            begin, self.at = self.at, self.at + length.size
            return self._sized(sized[0], length.unpack_from(self.view, begin)[0], depth)
        if 0xD4 <= code <= 0xD8:
            return self._sized("ext", 1 << (code - 0xD4), depth)
        if code not in _CONSTANTS:
            raise invalid(f"the message is no MessagePack: {_EXPECTED}")
        return _CONSTANTS[code]

    def _short(self, code: int, depth: int) -> Any:
        if code < 0x90:
            return self._sized("map", code & 0xF, depth)
        if code < 0xA0:
            return self._sized("array", code & 0xF, depth)
        return self._sized("str", code & 0x1F, depth)

    def _sized(self, kind: str, size: int, depth: int) -> Any:
        if kind == "array":
            if size > _LONG and not self._has_array():
                return self._strings(size)
            return [self.value(depth + 1) for _ in range(size)]
        if kind == "map":
            return self._map(size, depth)
        if kind == "ext":
            self.at += 1
        begin, self.at = self.at, self.at + size
        if self.at > len(self.view):
            raise IndexError
        if kind == "bin":
            return self.view[begin : self.at]
        return _EXTENSION if kind == "ext" else str(self.view[begin : self.at], "utf-8", "surrogateescape")

    def _has_array(self) -> bool:
        """Is the next value an array? Then so are the others: they are inputs."""
        code = self.view[self.at]
        return 0x90 <= code < 0xA0 or code in (0xDC, 0xDD)

    def _map(self, size: int, depth: int) -> dict[str, Any]:
        found = {}
        for _ in range(size):
            key = self.value(depth + 1)
            if isinstance(key, memoryview):
                key = bytes(key)
            elif not isinstance(key, str):
                raise invalid("the message has a map with other keys; expected text (str)")
            found[key] = self.value(depth + 1)
        return found

    def _strings(self, count: int) -> list[Any]:
        """A long array. Anything but texts and bytes, numbers and nil is not what it should have."""
        left = len(self.view) - self.at
        if count > left:
            raise IndexError
        limit_strings(count, 0, self._most_bytes)
        unpacker = msgpack.Unpacker(
            _Chunks(self.view[self.at :]),
            raw=True,
            ext_hook=_extension,
            read_size=min(left, _CHUNK),
            max_buffer_size=left,
            max_array_len=0,
            max_map_len=0,
        )
        try:
            values = list(islice(unpacker, count))
        except _ERRORS as error:
            text = f"an array of {count} values is damaged, or has arrays or maps in it ({error or type(error).__name__})"
            raise invalid(f"{text}; expected strings") from None
        if len(values) != count:
            raise IndexError
        self.at += unpacker.tell()
        return values


class _ManyStringsError(Exception):
    """There are."""


class _Skimmer(_Reader):
    """Stops where there are many strings."""

    def __init__(self, body: Buffer, most: int) -> None:
        super().__init__(body, most * STRING_BYTES)
        self._strings_left = most

    def _strings(self, count: int) -> list[Any]:
        self._strings_left -= count
        if self._strings_left < 0:
            raise _ManyStringsError
        return super()._strings(count)


class _Chunks:
    """What the package's reader takes for a file."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def read(self, size: int) -> bytes:
        begin, self._at = self._at, self._at + size
        return bytes(self._view[begin : self._at])
