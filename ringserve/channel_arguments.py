"""--grpc_channel_arguments: `key=value,key=value`, settings of gRPC's own."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from ringserve.errors import Code, ServingError

_INTEGER: Final = re.compile(r"([+-]?)0*([0-9]{1,10})")
_DIGITS: Final = re.compile(r"[+-]?[0-9]+")
#: Its value is an object, and gRPC ends the process when it finds anything else there.
_OBJECT: Final = "grpc.authorization_policy_provider"


def parse_channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """In order; of a key that comes twice the last value. What looks like an integer is one, as upstream.

    Raises ServingError (INVALID_ARGUMENT) for an item that is not `key=value`, at which upstream crashes, and for a number
    beyond 32 bits, which upstream passes on as a text and gRPC overlooks.
    """
    arguments: dict[str, int | str] = {}
    for part in text.split(",") if text.strip() else ():
        item = part.strip()
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not key or not equals:
            _refuse(f"{item!r} is not key=value")
        if not item.isprintable():
            _refuse(f"{item!r} is not text")
        if key == _OBJECT:
            _refuse(f"{key} can't be set by a flag")
        arguments[key] = _value(key, value)
    return list(arguments.items())


def _value(key: str, text: str) -> int | str:
    if not _DIGITS.fullmatch(text):
        return text
    match = _INTEGER.fullmatch(text)
    value = int(match[1] + match[2]) if match else 1 << 31
    if not -(1 << 31) <= value < 1 << 31:
        _refuse(f"{key} must fit into 32 bits")
    return value


def _refuse(text: str) -> NoReturn:
    raise ServingError(Code.INVALID_ARGUMENT, f"server_options.grpc_channel_arguments: {text}.")
