"""A JSON value in an error's text, written and cut as upstream does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

_MOST: Final = 256  # bytes after which nothing more is begun
_INDENT: Final = "    "
_ESCAPES: Final = str.maketrans(
    {chr(code): f"\\u{code:04X}" for code in range(32)}
    | {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
)


def dump(value: Any) -> str:
    """Objects over several lines, lists on one. Cut, without a mark, after 256 bytes or at a number that is not finite."""
    pieces = []
    size = 0
    for separator, token in _tokens(value):
        if size >= _MOST:
            break
        pieces.append(separator)
        if token is None:
            break
        pieces.append(token)
        size += len(separator) + len(token.encode("utf-8", "surrogatepass"))
    return "".join(pieces)


def _tokens(value: Any) -> Iterator[tuple[str, str | None]]:
    """Each token with what stands before it; None for a number that is not finite. Nesting has no limit."""
    open_ones: list[tuple[Iterator[Any], bool]] = []
    separator = ""
    while True:
        if isinstance(value, dict):
            yield separator, "{"
            open_ones.append((iter(value.items()), True))
            first = True
        elif isinstance(value, list):
            yield separator, "["
            open_ones.append((iter(value), False))
            first = True
        else:
            yield separator, _scalar(value)
            first = False
        while open_ones:
            members, named = open_ones[-1]
            found: Any = next(members, open_ones)
            if found is not open_ones:
                break
            open_ones.pop()
            yield "" if first or not named else "\n" + _INDENT * len(open_ones), "}" if named else "]"
            first = False
        else:
            return
        separator = "" if first else "," if named else ", "
        value = found
        if named:
            name, value = found
            yield f"{separator}\n{_INDENT * len(open_ones)}", _text(name)
            separator = ": "


def _scalar(value: Any) -> str | None:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _double(value) if math.isfinite(value) else None
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


def _text(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def _double(value: float) -> str:
    """The shortest text that gives the number again, in RapidJSON's form: 1.0, 1e30, 1.5e-7."""
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0") or "0"
    exponent += len(text) - len(short) if text else 0
    point = len(short) + exponent  # where it stands in the digits
    minus = "-" if sign else ""
    if short == "0":
        return f"{minus}0.0"
    if len(short) <= point <= 21:
        return f"{minus}{short}{'0' * exponent}.0"
    if 0 < point <= 21:
        return f"{minus}{short[:point]}.{short[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{short}"
    fraction = f".{short[1:]}" if len(short) > 1 else ""
    return f"{minus}{short[0]}{fraction}e{point - 1}"
