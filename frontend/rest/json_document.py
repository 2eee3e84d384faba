"""JSON bodies: parsed fast when they are plain JSON, and in RapidJSON's dialect, which upstream speaks, when not."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from ringserve.errors import Code, ServingError

_WHITESPACE: Final = " \t\r\n"
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TEXTS: Final = {  # what the standard library says → RapidJSON's text; the comma's depends on where it is missing
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape: ": "Invalid escape character in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character at": "Invalid escape character in string.",
}
_MOST_DUMPED: Final = 256  # characters of a value in an error's text, as upstream cuts them


def parse_document(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises ServingError (INVALID_ARGUMENT) with upstream's text for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_dialect(body)
    if not isinstance(document, dict):
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(document)} Is not object")
    return document


def _parse_dialect(body: bytes) -> Any:
    """NaN and Infinity, text after the document, invalid UTF-8 inside strings, a byte-order mark: all accepted."""
    if not body:
        raise ServingError(Code.INVALID_ARGUMENT, "JSON Parse error: The document is empty")
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(_WHITESPACE))
    if start == len(text) or text[start] in "]},:":
        raise _parse_error("The document is empty.", text, start)
    try:
        return _DECODER.raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        message = _TEXTS.get(error.msg)
        if message is None and error.msg == "Expecting ',' delimiter":
            closing, kind = _innermost(text[: error.pos])
            message = f"Missing a comma or '{closing}' after an {kind}."
        raise _parse_error(message or "Invalid value.", text, error.pos) from error
    except RecursionError as error:
        raise _parse_error("The document is nested too deeply.", text, 0) from error
    except _NumberError as error:
        raise _parse_error("Number too big to be stored in double.", text, 0) from error


def _parse_error(message: str, text: str, position: int) -> ServingError:
    offset = len(text[:position].encode("utf-8", "surrogateescape"))
    return ServingError(Code.INVALID_ARGUMENT, f"JSON Parse error: {message} at offset: {offset}")


def _innermost(text: str) -> tuple[str, str]:
    """What the innermost open bracket at the end of `text` lacks, and what it holds."""
    depth = 0
    for character in reversed(_STRINGS.sub("", text)):
        if character in "]}":
            depth += 1
        elif character in "[{":
            if not depth:
                return ("]", "array element") if character == "[" else ("}", "object member")
            depth -= 1
    return "}", "object member"


class _NumberError(ValueError):
    """A number that no double holds."""


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _NumberError(text)
    return value


def _int(text: str) -> int | float:
    """A whole number too large for 64 bits becomes a double, silently, as RapidJSON's do."""
    if len(text) > 20:
        return _float(text)
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


_DECODER: Final = json.JSONDecoder(parse_float=_float, parse_int=_int, object_pairs_hook=_first_wins)


def dump(value: Any) -> str:
    """A value in an error's text: JSON, cut where upstream stops writing."""
    text = ""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
            text += piece
            if len(text) >= _MOST_DUMPED:
                break
    except RecursionError:
        text = "[…"
    return text
