"""RapidJSON's dialect of JSON, exactly: what it accepts and refuses, with its error texts and their offsets.

The slow way, in plain Python, for bodies that are not plain JSON. It does not recurse: nesting has no limit.
"""

from __future__ import annotations

import json.decoder
import re
from decimal import MAX_EMAX, MIN_EMIN, ROUND_05UP, Context
from typing import Any, Final, NoReturn

from ringserve.errors import Code, ServingError

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
#: Of a string, up to its end or to what is wrong.
_PLAIN: Final = re.compile(
    rb'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u(?:(?![dD][89abAB])[0-9a-fA-F]{4}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))*+"
)
#: The second half of a surrogate pair behind anything but the first.
_LONE_LOW: Final = re.compile(rb"\\u(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2}")
#: Many of them, and what else looks like one: escaped backslashes, and whole pairs.
_LOWS: Final = re.compile(
    rb"((?:\\\\)++|(?:\\u[dD][c-fC-F][0-9a-fA-F]{2})++"
    rb"|(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})++)"
)
_LOW: Final = b"cdefCDEF"  # the second digit of a second half
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{4}")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]*)?")
_WORDS: Final = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _DOT = b'"\\,:-.'
_DIGITS: Final = b"0123456789"
_LIST, _END_LIST, _OBJECT, _END_OBJECT = b"[]{}"
_OPENING: Final = re.compile(rb"\[+")
_CLOSING: Final = re.compile(rb"\]+")
#: Levels of a document that are kept; what is nested deeper is checked, and left empty: no tensor or example can hold it.
MOST_LEVELS: Final = 1024
MOST_TURNS: Final = 12_000  # values, each 1 to 4 µs, while nothing else in this process is served
_TOO_DEEP: Final = "The document is nested too deeply."


def parse_dialect(body: bytes, last_inside: bool = False) -> Any:
    """The first value in a body; text after it is ignored. Raises ServingError (INVALID_ARGUMENT) where there is none.

    Bytes of a string that are no UTF-8 become lone surrogates, as with the error handler "surrogateescape". Of an object's
    members with one name the first counts; with `last_inside` the last one, except for the outermost object.
    """
    if not body:
        raise ServingError(Code.INVALID_ARGUMENT, "JSON Parse error: The document is empty")
    return DialectParser(body, 0, last_inside).document()


class NumberError(ValueError):
    """A number that no double holds."""


def to_float(text: str) -> float:
    """Raises NumberError where the number is too big."""
    # A number as long as a body would take `float` seconds; this many digits decide what it is.
    value = float(text) if len(text) < _MOST_DIGITS else float(_LONG.create_decimal(text))
    if value in (float("inf"), float("-inf")):
        raise NumberError(text)
    return value


_MOST_DIGITS: Final = 800  # no double, and nothing half way between two, has more than 767
_LONG: Final = Context(prec=_MOST_DIGITS, rounding=ROUND_05UP, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


def to_int(text: str) -> int | float:
    """A whole number too large for 64 bits becomes a double, silently. Raises NumberError where it is too big for that."""
    if len(text) > 20:
        return to_float(text)
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


_scan_string: Final[Any] = vars(json.decoder)["scanstring"]


class _Units(dict[bytes, bytes]):
    """Second halves of surrogate pairs, in four digits, and the bytes that they stand for: UTF-8's pattern."""

    def __missing__(self, digits: bytes) -> bytes:
        self[digits] = raw = chr(int(digits, 16)).encode("utf-8", "surrogatepass")
        return raw


def with_low_bytes(text: bytes) -> bytes:
    """JSON with the bytes that they stand for in place of the escapes of lone low surrogates."""
    if b"\\u" not in text or (_LONE_LOW.search(text) is None and (b"\\\\u" not in text or b"\\ud" not in text.lower())):
        return text
    pieces = _LOWS.split(text)  # every other one is a match
    raw = _Units().__getitem__
    for index in range(1, len(pieces), 2):
        found = pieces[index]
        if found[1:2] == b"u" and found[3] in _LOW:
            pieces[index] = b"".join(map(raw, found.split(b"\\u")[1:]))
    return b"".join(pieces)


def _unescaped(plain: bytes) -> bytes:
    if b"\\" not in plain:
        return plain
    text = with_low_bytes(plain).decode("utf-8", "surrogateescape")
    whole: str = _scan_string(f'{text}"', 0, False)[0]
    return whole.encode("utf-8", "surrogateescape")


class DialectParser:
    """Where it is, `at`, and what is open there. A zero byte is the end of the text, wherever it stands outside strings."""

    def __init__(self, body: bytes, at: int, last_inside: bool = False, texts: bool = True) -> None:
        """`texts`: whether it matters what they are."""
        self.at = at
        self.ended = False
        self._text = body + b"\0"
        self._last_inside = last_inside
        self._texts = texts
        self._kinds = bytearray()  # of all open lists and objects, the brackets that opened them
        self._open: list[Any] = []  # the outermost of them
        self._names: list[str] = []  # of the members of these whose values are not complete
        self._turns = 0

    def document(self) -> Any:
        """The whole of it."""
        text = self._text
        self.at = at = self._skip(3 if text.startswith(b"\xef\xbb\xbf") else 0)
        if text[at] in b"\0]},:":
            self._fail("The document is empty.", at)
        return self.values()

    def enter(self, kind: int, complete: bool, named: bool) -> None:
        """Be inside an open list or object, `kind` says which.

        Behind a value if `complete`; otherwise a value comes, or, in an object, a name if not `named`.
        """
        self._kinds.append(kind)
        self._open.append([] if kind == _LIST else {})
        if kind == _OBJECT and (complete or named):
            self._names.append("")
        if complete:
            self._complete(None, self.at)
        elif kind == _OBJECT and not named:
            self.at = self._name(self._skip(self.at))
        else:
            self.at = self._skip(self.at)

    def values(self, most: int = MOST_TURNS) -> Any:
        """From the beginning of a value to the end of the outermost list or object, or `most` turns."""
        text, kinds = self._text, self._kinds
        value: Any = None
        for _ in range(most):
            at = self.at
            opening = text[at]
            if opening == _LIST:
                at = self.at = self._lists(at)
                if text[at] != _END_LIST:
                    continue
                value, at = self._close(), at + 1
            elif opening == _OBJECT:
                kinds.append(_OBJECT)
                if len(kinds) <= MOST_LEVELS:
                    self._open.append({})
                at = self._skip(at + 1)
                if text[at] != _END_OBJECT:
                    self.at = self._name(at)
                    continue
                value, at = self._close(), at + 1
            else:
                value, at = self.scalar(at)
            value = self._complete(value, at)
            if self.ended:
                return value
        if most == MOST_TURNS:
            self._fail(_TOO_DEEP, self.at)
        return None

    def _lists(self, at: int) -> int:
        """Open all lists that begin here, one in the other; says where the innermost's content begins."""
        run = _OPENING.match(self._text, at)
        assert run is not None
        kept = min(MOST_LEVELS - len(self._kinds), run.end() - at)
        self._open.extend([] for _ in range(kept))  # none where it is less than one
        self._kinds += run[0]
        return self._skip(run.end())

    def _close(self) -> Any:
        kept = len(self._kinds) <= MOST_LEVELS
        kind = self._kinds.pop()
        return self._open.pop() if kept else [] if kind == _LIST else {}

    def _complete(self, value: Any, at: int) -> Any:
        """A value that ends here belongs into the innermost list or object, and may be the last one there, and so on.

        Goes on to where the next value begins; if the outermost ends, gives its value.
        """
        text, kinds = self._text, self._kinds
        while kinds:
            self._turns += 1
            if self._turns > MOST_TURNS:
                self._fail(_TOO_DEEP, at)
            at = self._skip(at)
            kind = kinds[-1]
            if len(kinds) <= MOST_LEVELS:
                self._add(value)
            found = text[at]
            if found == _COMMA:
                at = self._skip(at + 1)
                self.at = self._name(at) if kind == _OBJECT else at
                return None
            if kind == _LIST:
                if found != _END_LIST:
                    self._fail("Missing a comma or ']' after an array element.", at)
                at = self._skip_deep_ends(at)
            elif found != _END_OBJECT:
                self._fail("Missing a comma or '}' after an object member.", at)
            value, at = self._close(), at + 1
        self.at, self.ended = at, True
        return value

    def _add(self, value: Any) -> None:
        outer = self._open[-1]
        if isinstance(outer, list):
            outer.append(value)
        elif self._last_inside and len(self._kinds) > 1:
            outer[self._names.pop()] = value
        else:
            outer.setdefault(self._names.pop(), value)

    def _skip_deep_ends(self, at: int) -> int:
        """Close all but one of the lists that end here and are too deep to be kept."""
        deep = len(self._kinds) - MOST_LEVELS - 1
        if deep > 0:
            run = _CLOSING.match(self._text, at, at + deep + 1)
            assert run is not None
            count = len(run[0]) - 1
            if not self._kinds.endswith(b"[" * (count + 1)):  # what ends behind these lists is an object: the last ones
                count = len(self._kinds) - len(self._kinds.rstrip(b"[")) - 1
            if count:
                del self._kinds[-count:]
            return at + count
        return at

    def _fail(self, message: str, at: int) -> NoReturn:
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Parse error: {message} at offset: {at}")

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        assert match is not None
        return match.end()

    def _name(self, at: int) -> int:
        """A member's name and its colon; says where its value begins."""
        if self._text[at] != _QUOTE:
            self._fail("Missing a name for object member.", at)
        name, at = self._string(at)
        if len(self._kinds) <= MOST_LEVELS:
            self._names.append(name)
        at = self._skip(at)
        if self._text[at] != _COLON:
            self._fail("Missing a colon after a name of object member.", at)
        return self._skip(at + 1)

    def scalar(self, at: int) -> tuple[Any, int]:
        """A text, word or number that begins here, and where it ends."""
        first = self._text[at]
        if first == _QUOTE:
            return self._string(at)
        if first in _WORDS:
            word, value = _WORDS[first]
            return value, self._word(at, word)
        number = _NUMBER.match(self._text, at)
        return self._not_finite(at) if number is None else (self._number(number), number.end())

    def _word(self, at: int, word: bytes) -> int:
        end = at + self._alike(at, word)
        if end < at + len(word):
            self._fail("Invalid value.", end)
        return end

    def _alike(self, at: int, word: bytes) -> int:
        """How many bytes of the word stand here."""
        count = 0
        while count < len(word) and self._text[at + count] == word[count]:
            count += 1
        return count

    def _not_finite(self, at: int) -> tuple[float, int]:
        negative = self._text[at] == _MINUS
        at += negative
        if self._text[at] == ord("N"):
            return float("nan"), self._word(at, b"NaN")
        alike = self._alike(at, b"Infinity")
        if alike not in (len(b"Inf"), len(b"Infinity")):
            self._fail("Invalid value.", at + alike)
        return float("-inf") if negative else float("inf"), at + alike

    def _number(self, number: re.Match[bytes]) -> int | float:
        fraction, exponent = number.groups()
        if fraction == b".":
            self._fail("Miss fraction part in number.", number.end(1))
        if exponent is not None and exponent[-1] not in _DIGITS:
            self._fail("Miss exponent in number.", number.end())
        text = number[0].decode()
        try:
            return to_int(text) if fraction is None and exponent is None else to_float(text)
        except NumberError:
            self._fail("Number too big to be stored in double.", number.start())

    def _string(self, at: int) -> tuple[str, int]:
        text = self._text
        plain = _PLAIN.match(text, at + 1)
        assert plain is not None
        at = plain.end()
        if text[at] == _BACKSLASH:
            self.escape(at)
        elif text[at] != _QUOTE:
            last = text[at] == 0
            self._fail("Missing a closing quotation mark in string." if last else "Invalid escape character in string.", at)
        return _unescaped(plain[0]).decode("utf-8", "surrogateescape") if self._texts else "", at + 1

    def escape(self, at: int) -> NoReturn:
        """Say what is wrong with the escape that begins here."""
        if self._text[at + 1] != ord("u"):
            self._fail("Invalid escape character in string.", at)
        self._hex(at + 2, at)
        if self._text.startswith(b"\\u", at + 6):
            self._hex(at + 8, at)
        self._fail("The surrogate pair in string is invalid.", at)

    def _hex(self, at: int, escape: int) -> None:
        if _HEX.match(self._text, at) is None:
            self._fail("Incorrect hex digit after \\u escape in string.", escape)
