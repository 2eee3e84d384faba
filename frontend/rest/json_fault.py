"""Where a long document is wrong, and RapidJSON's text for it, without going through all of it in Python.

The standard library's parser finds the place within milliseconds. What is open there is read from the brackets before it;
from the beginning of the last value or name on, the exact parser goes on by itself, and says what is wrong.
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple, NoReturn

import numpy as np

from frontend.rest.json_dialect import DialectParser
from ringserve.errors import Code, ServingError

#: A string and its end: that of the text where it has none. Were such a one no match, each quote in it would be tried.
_STRING: Final = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+)("|\\?\Z)', re.DOTALL)
_WORDS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|-NaN|-?Inf(?!inity)', re.DOTALL)
#: Words that the standard library does not know, as others of the same length.
_KNOWN_WORDS: Final = {b"-NaN": b" NaN", b"Inf": b"NaN", b"-Inf": b" NaN"}
_HALF_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})")
_ESCAPED_HALF: Final = re.compile(rb"(?<!\\)(?:\\\\)*+(" + _HALF_PAIR.pattern + rb")")  # behind backslashes, in pairs
_SPACE: Final = re.compile("[ \t\r\n]*")
_MORE_DIGITS: Final = re.compile(rb"[0-9]|\.[0-9]|[eE][+-]?[0-9]")
_IN_NUMBERS: Final = b"0123456789.eE+-"
_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STRUCTURE: Final = b",:[]{}"
_BACKSLASH: Final = ord("\\")
_ESCAPE: Final = len(rb"\ud800")
_DECODER: Final = json.JSONDecoder(parse_float=len, parse_int=len)  # of any size, and at once


def raise_fault(body: bytes, at: int | None = None) -> NoReturn:
    """The error (INVALID_ARGUMENT) of a document that begins with a list or an object and is wrong.

    `at`: the offset up to which it is right, as the standard library says, if that is known.
    """
    if at is None:
        at = extent(body)
    _check_pairs(body, at)
    parser = _go_on(body, at)
    if parser is not None:
        parser.values()
    raise _error("Invalid value.", at)


def check_at(body: bytes, at: int) -> None:
    """Raise the error if what is found at this offset, up to which all is plain JSON, is no dialect either."""
    parser = _go_on(body, at)
    while parser is not None and parser.at <= at and not parser.ended:
        parser.values(1)


def raise_number_fault(body: bytes, number: str) -> NoReturn:
    """The same where that is wrong: the first number of this text outside strings is too big."""
    token = number.encode()
    masked = bytearray(body)
    found = body.find(token)
    while found >= 0:
        end = found + len(token)
        if body[found - 1] not in _IN_NUMBERS and ("e" in number.lower() or _MORE_DIGITS.match(body, end) is None):
            masked[found] = ord("x")
        found = body.find(token, end)
    at = extent(bytes(masked))
    _check_pairs(body, at)
    DialectParser(body, at).scalar(at)
    raise _error("Number too big to be stored in double.", at)


def half_pair(body: bytes) -> int:
    """The offset of the first escape that is the first half of a surrogate pair without its second, or -1.

    That is wrong, but not for the standard library.
    """
    found = _HALF_PAIR.search(body)
    if found is None:
        return -1
    if body[found.start() - 1] != _BACKSLASH:  # of which one more may stand for itself
        return found.start()
    found = _ESCAPED_HALF.search(body)
    return -1 if found is None else found.start(1)


def _check_pairs(body: bytes, end: int) -> None:
    at = half_pair(body[: end + _ESCAPE]) if b"\\u" in body else -1  # the end may stand between two that are a pair
    if 0 <= at <= end - _ESCAPE:
        DialectParser(body, at).escape(at)


def _error(what: str, at: int) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"JSON Parse error: {what} at offset: {at}")


def extent(body: bytes) -> int:
    """The offset where the first value ends, or up to which it is right, as the standard library and `half_pair` see it."""
    if b"Inf" in body or b"-NaN" in body:
        body = _WORDS.sub(lambda found: _KNOWN_WORDS.get(found[0], found[0]), body)
    text = body.decode("latin-1")  # a byte is a character
    space = _SPACE.match(text, 3 if body.startswith(b"\xef\xbb\xbf") else 0)
    assert space is not None
    try:
        return _DECODER.raw_decode(text, space.end())[1]
    except json.JSONDecodeError as error:
        return error.pos


def _go_on(body: bytes, at: int) -> DialectParser | None:
    """The exact parser, at the beginning of the last value or name before `at`; None outside all lists and objects."""
    last = _last_token(body[:at])
    if last.before in (b"[", b"{"):  # the whole list or object: no matter where it stands
        return DialectParser(body, last.start - 1, texts=False)
    kind = _innermost(last.outside)
    if kind is None:
        return None
    parser = DialectParser(body, last.start, texts=False)
    parser.enter(kind, last.before in (b"]", b"}"), last.before == b":")
    return parser


class _Last(NamedTuple):
    """The last value or name that begins before a place: where, behind which of the brackets, commas and colons."""

    start: int
    before: bytes
    outside: bytes  # all that is before it, without the strings


def _last_token(prefix: bytes) -> _Last:
    """`prefix`: the beginning of a document, right as far as it goes; it may end inside a string."""
    pieces = _STRING.split(prefix)  # what is outside, a string, its end, what is outside and so on
    tail = pieces[-1]
    start = len(prefix) - len(tail)
    if len(pieces) > 1:
        string, end = pieces[-3:-1]
        if end != b'"' or not tail.strip(b" \t\r\n0123456789+-.eEINTYaeflnrstuy"):
            # It has no end; or it is a name or a text, and nothing behind it says what it was.
            start -= len(string) + len(end)
            return _behind(pieces[:-3], pieces[-4], start - len(pieces[-4]), start)
    return _behind(pieces, tail, start, None)


def _behind(pieces: list[bytes], piece: bytes, base: int, start: int | None) -> _Last:
    """`piece` begins at `base`; without a `start` the token begins behind the last of its brackets, commas and colons."""
    at = max(piece.rfind(bytes((mark,))) for mark in _STRUCTURE)
    outside = b"".join(pieces[:-1:3]) + piece[: at + 1]
    if start is None or piece[at : at + 1] in b"[{":
        start = base + at + 1
    return _Last(start, piece[at : at + 1], outside)


def _innermost(outside: bytes) -> int | None:
    """The bracket of the innermost list or object that is open behind this."""
    brackets = np.frombuffer(outside.translate(None, _BRACKETS), np.uint8)
    depth = np.cumsum(np.where(brackets & 6 == 2, np.int8(1), np.int8(-1)), dtype=np.int32)
    if not depth.size or depth[-1] <= 0:
        return None
    outer = (depth < depth[-1])[::-1]
    behind = int(outer.argmax())  # brackets since the last one outside it
    return int(brackets[depth.size - behind if outer[behind] else 0])
