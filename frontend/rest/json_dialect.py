"""RapidJSON's dialect of JSON, exactly: what it accepts and refuses, with its error texts and their offsets.

The slow way, in plain Python, for bodies that are not plain JSON. Memory is the only limit of their nesting.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

from ringserve.errors import Code, ServingError

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*')  # of a string, up to what needs a look
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{4}")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]*)?")
_WORDS: Final = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}
_ESCAPES: Final = dict(zip(b'"\\/bfnrt', (b'"', b"\\", b"/", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _DOT = b'"\\,:-.'
_DIGITS: Final = b"0123456789"


def parse_dialect(body: bytes) -> Any:
    """The first value in a body; text after it is ignored. Raises ServingError (INVALID_ARGUMENT) where there is none.

    Bytes of a string that are no UTF-8 become lone surrogates, as with the error handler "surrogateescape".
    """
    if not body:
        raise ServingError(Code.INVALID_ARGUMENT, "JSON Parse error: The document is empty")
    return _Parser(body).document()


class NumberError(ValueError):
    """A number that no double holds."""


def to_float(text: str) -> float:
    """Raises NumberError where the number is too big."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise NumberError(text)
    return value


def to_int(text: str) -> int | float:
    """A whole number too large for 64 bits becomes a double, silently. Raises NumberError where it is too big for that."""
    if len(text) > 20:
        return to_float(text)
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


class _Parser:
    """A zero byte is the end of the text, wherever it stands outside strings."""

    def __init__(self, body: bytes) -> None:
        self._text = body + b"\0"

    def document(self) -> Any:
        """Open lists and objects stand on a stack: no recursion."""
        text = self._text
        at = self._skip(3 if text.startswith(b"\xef\xbb\xbf") else 0)
        if text[at] in b"\0]},:":
            self._fail("The document is empty.", at)
        stack: list[list[Any] | dict[str, Any]] = []
        names: list[str] = []  # of the members whose values are not complete
        while True:
            value: Any
            opening = text[at]
            if opening in b"[{":
                stack.append([] if opening == ord("[") else {})
                at = self._skip(at + 1)
                if text[at] not in b"]}" or (text[at] == ord("]")) != (opening == ord("[")):
                    if opening == ord("{"):
                        at = self._name(at, names)
                    continue
                value = stack.pop()
                at += 1
            else:
                value, at = self._scalar(at)
            while stack:  # the value belongs into the innermost; it may be the last one there
                at = self._skip(at)
                outer = stack[-1]
                if isinstance(outer, list):
                    outer.append(value)
                else:
                    outer.setdefault(names.pop(), value)  # of several members with one name the first counts
                if text[at] == _COMMA:
                    at = self._skip(at + 1)
                    if isinstance(outer, dict):
                        at = self._name(at, names)
                    break
                self._expect_end(outer, at)
                value = stack.pop()
                at += 1
            else:
                return value

    def _fail(self, message: str, at: int) -> NoReturn:
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Parse error: {message} at offset: {at}")

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        assert match is not None
        return match.end()

    def _expect_end(self, outer: list[Any] | dict[str, Any], at: int) -> None:
        if isinstance(outer, list):
            if self._text[at] != ord("]"):
                self._fail("Missing a comma or ']' after an array element.", at)
        elif self._text[at] != ord("}"):
            self._fail("Missing a comma or '}' after an object member.", at)

    def _name(self, at: int, names: list[str]) -> int:
        """A member's name and its colon; says where its value begins."""
        if self._text[at] != _QUOTE:
            self._fail("Missing a name for object member.", at)
        name, at = self._string(at)
        names.append(name)
        at = self._skip(at)
        if self._text[at] != _COLON:
            self._fail("Missing a colon after a name of object member.", at)
        return self._skip(at + 1)

    def _scalar(self, at: int) -> tuple[Any, int]:
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
        pieces = []
        at += 1
        while True:
            plain = _PLAIN.match(text, at)
            assert plain is not None
            pieces.append(plain[0])
            at = plain.end()
            if text[at] == _QUOTE:
                return b"".join(pieces).decode("utf-8", "surrogateescape"), at + 1
            if text[at] != _BACKSLASH:
                last = text[at] == 0
                what = "Missing a closing quotation mark in string." if last else "Invalid escape character in string."
                self._fail(what, at)
            piece, at = self._escape(at)
            pieces.append(piece)

    def _escape(self, at: int) -> tuple[bytes, int]:
        letter = self._text[at + 1]
        if letter in _ESCAPES:
            return _ESCAPES[letter], at + 2
        if letter != ord("u"):
            self._fail("Invalid escape character in string.", at)
        unit = self._hex(at + 2, at)
        if not 0xD800 <= unit < 0xDC00:
            return chr(unit).encode("utf-8", "surrogatepass"), at + 6
        low = self._hex(at + 8, at) if self._text.startswith(b"\\u", at + 6) else 0
        if not 0xDC00 <= low < 0xE000:
            self._fail("The surrogate pair in string is invalid.", at)
        return chr(0x10000 + ((unit & 0x3FF) << 10 | low & 0x3FF)).encode(), at + 12

    def _hex(self, at: int, escape: int) -> int:
        digits = _HEX.match(self._text, at)
        if digits is None:
            self._fail("Incorrect hex digit after \\u escape in string.", escape)
        return int(digits[0], 16)
