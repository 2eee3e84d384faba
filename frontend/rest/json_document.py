"""JSON bodies: parsed fast when they are plain JSON, and in RapidJSON's dialect, which upstream speaks, when not."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from frontend.rest.json_dialect import parse_dialect, to_float, to_int
from ringserve.errors import Code, ServingError

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_BEFORE: Final = re.compile("\ufeff?[ \t\r\n]*")
_MOST_EXACT: Final = 256 << 10  # bytes that plain Python parses without holding up other requests for long: 0.3 s
_MOST_NESTED: Final = 2 << 20
_MOST_DUMPED: Final = 256  # characters of a value in an error's text, as upstream cuts them


def parse_document(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises ServingError (INVALID_ARGUMENT) with upstream's text for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_slowly(body)
    if not isinstance(document, dict):
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(document)} Is not object")
    return document


def _parse_slowly(body: bytes) -> Any:
    """What orjson refuses may still be RapidJSON's dialect: NaN, text after the document, invalid UTF-8 and so on.

    The standard library's parser knows most of it and is fast. What it refuses has an exact answer where it is short; a long
    body gets its error without RapidJSON's text.
    """
    if len(body) <= _MOST_EXACT and _SURROGATE.search(body):  # which the standard library takes for what they are not
        return parse_dialect(body)
    text = body.decode("utf-8", "surrogateescape")
    before = _BEFORE.match(text)
    assert before is not None
    try:
        return _DECODER.raw_decode(text, before.end())[0]
    except (ValueError, RecursionError) as error:
        if len(body) <= (_MOST_NESTED if isinstance(error, RecursionError) else _MOST_EXACT):
            return parse_dialect(body)
        offset = len(text[: getattr(error, "pos", 0)].encode("utf-8", "surrogateescape"))
        what = "The document is nested too deeply." if isinstance(error, RecursionError) else "Invalid value."
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Parse error: {what} at offset: {offset}") from error


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        members.update(reversed(pairs))
    return members


_DECODER: Final = json.JSONDecoder(parse_float=to_float, parse_int=to_int, object_pairs_hook=_first_wins)


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
