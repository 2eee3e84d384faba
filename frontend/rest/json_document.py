"""JSON bodies: parsed fast when they are plain JSON, and in RapidJSON's dialect, which upstream speaks, when not."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from frontend.rest.json_dialect import NumberError, parse_dialect, to_float, to_int, with_low_bytes
from frontend.rest.json_dump import dump
from frontend.rest.json_fault import check_at, extent, half_pair, raise_fault, raise_number_fault
from ringserve.errors import Code, ServingError

_BACKSLASH: Final = ord("\\")
_HIDDEN: Final = re.compile(rb"\\u00[5-7]")  # how upstream's names, or parts of them, may be written as well
_BEFORE: Final = re.compile("\ufeff?[ \t\r\n]*")
#: A string ends with the text where it has no end: were such a one no match, each quote in it would be tried.
_WORDS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|-NaN|Inf(?!inity)', re.DOTALL)
_DIGITS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LONG, _LONGEST = b"0" * 19, b"0" * 300  # digits of a number that 64 bits, or a double, may not hold
_SHORT: Final = 8 << 10  # bytes that plain Python parses in a few milliseconds


def parse_document(body: bytes, last_inside: bool = False) -> dict[str, Any]:
    """The JSON object in a body. Raises ServingError (INVALID_ARGUMENT) with upstream's text for anything else.

    Of several members with one name the first counts where upstream's names are concerned, at the top. Inside it is either
    one (`parse_exactly` says which); with `last_inside` always the last.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if len(body) > _SHORT and body.isascii() and error.pos:
            check_at(body, error.pos)
        document = parse_exactly(body, last_inside)
    else:
        # As many colons as members: none of them came twice. That spares the usual body a closer look.
        if type(document) is dict and body.count(b":") != len(document) and _repeats(body, document):
            document = parse_exactly(body, last_inside)
    if not isinstance(document, dict):
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(document)} Is not object")
    return document


def _repeats(body: bytes, document: dict[str, Any]) -> bool:
    """May one of upstream's names stand there more than once? orjson keeps the last one.

    It may also be a text, or an inner member: seldom, and the exact way gives the same then.
    """
    # Spelled out: a loop over the names takes twice the time, for every small request.
    if "instances" in document and body.count(b'"instances"') != 1:
        return True
    if "inputs" in document and body.count(b'"inputs"') != 1:
        return True
    if "signature_name" in document and body.count(b'"signature_name"') != 1:
        return True
    if "examples" in document and body.count(b'"examples"') != 1:
        return True
    if "context" in document and body.count(b'"context"') != 1:
        return True
    return _BACKSLASH in body and _HIDDEN.search(body) is not None


def parse_exactly(body: bytes, last_inside: bool = False) -> Any:
    """What orjson refuses may still be RapidJSON's dialect: NaN, text after the document, invalid UTF-8 and so on.

    Of an object's members with one name the first counts; with `last_inside` the last one, except at the top. The standard
    library's parser knows most of the dialect and is fast. What it refuses goes the exact way if it is short, or is nested
    too deeply for it; where a long body is wrong is found with its help. Raises ServingError.
    """
    text = body.decode("utf-8", "surrogateescape")
    before = _BEFORE.match(text)
    assert before is not None
    start = before.end()
    if text[start : start + 1] not in ("{", "["):
        return parse_dialect(body, last_inside)
    try:
        return _parsed_anyhow(body, text, start, last_inside)
    except RecursionError:
        return parse_dialect(body, last_inside)
    except (NumberError, json.JSONDecodeError) as error:
        if len(body) <= _SHORT:
            return parse_dialect(body, last_inside)
        if isinstance(error, NumberError):
            raise_number_fault(body, str(error))
        raise_fault(body, error.pos if error.doc is text and len(text) == len(body) else None)


def _parsed_anyhow(body: bytes, text: str, start: int, last_inside: bool) -> Any:
    """By the standard library; what it does not know said in its own words. Raises what it raises."""
    plain = with_low_bytes(body)
    shown = text if plain is body else plain.decode("utf-8", "surrogateescape")
    try:
        document = _parsed(body, shown, start, last_inside)
    except json.JSONDecodeError:
        if "Inf" not in shown and "-NaN" not in shown:
            raise
        shown = _WORDS.sub(_known_word, shown)
        document = _parsed(body, shown, start, last_inside)
    if b"\\u" in body and 0 <= half_pair(body) < extent(body):
        raise_fault(body)
    return document


def _parsed(body: bytes, text: str, start: int, last_inside: bool) -> Any:
    """The first value. Raises JSONDecodeError, RecursionError and NumberError."""
    members = _LastInside() if last_inside else _first_wins
    shown = body.translate(_DIGITS)  # looking at each number in Python is left out where none needs it
    floats = to_float if b"e000" in shown or b"e+000" in shown or _LONGEST in shown else None
    integers = to_int if _LONG in shown else None
    decoder = json.JSONDecoder(parse_float=floats, parse_int=integers, object_pairs_hook=members)
    document, _ = decoder.raw_decode(text, start)
    if isinstance(members, _LastInside) and isinstance(document, dict):
        document = _first_wins(members.outermost)
    return document


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        members.update(reversed(pairs))
    return members


class _LastInside:
    """Objects are complete from the inside outwards: the outermost comes last."""

    def __init__(self) -> None:
        self.outermost: list[tuple[str, Any]] = []

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.outermost = pairs
        return dict(pairs)


def _known_word(found: re.Match[str]) -> str:
    return {"-NaN": "NaN", "Inf": "Infinity"}.get(found[0], found[0])
