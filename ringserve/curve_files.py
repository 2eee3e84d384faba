"""The files of --zmq_curve_secret_key_file and --zmq_curve_allowed_keys_file: CURVE keys as ZeroMQ writes them, in Z85."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NoReturn

from ringserve.errors import Code, ServingError

_KEY_LENGTH: Final = 40  # characters, of 32 bytes
_LONGEST_FILE: Final = 1 << 20
_ALPHABET: Final = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_GROUP: Final = 5  # characters, of 4 bytes
_SECRET_LINE: Final = re.compile(rb'^\s*secret-key\s*=\s*"([^"]*)"\s*$', re.MULTILINE)


def read_secret_key(path: str) -> bytes:
    """The server's secret key, 40 characters: of a certificate as `zmq.auth.create_certificates` writes it, or alone there.

    Raises ServingError, NOT_FOUND for the file or INVALID_ARGUMENT. No text of the file is in the error: it may be the key.
    """
    data = _read(path)
    found = _SECRET_LINE.search(data)
    lines = [found[1]] if found else _lines(data)
    if len(lines) != 1 or not _is_key(lines[0]):
        text = f"it is neither a secret certificate (.key_secret) nor a secret key of {_KEY_LENGTH} characters Z85"
        _refuse(path, text)
    return lines[0]


def read_allowed_keys(path: str) -> frozenset[bytes]:
    """The public keys of clients that may connect, 40 characters each: one a line, `#` begins a comment line.

    Raises ServingError, NOT_FOUND for the file or INVALID_ARGUMENT, where there is none too: nobody could ever connect.
    """
    keys = _lines(_read(path))
    for key in keys:
        if not _is_key(key):
            _refuse(path, f"a line of it is not a public key of {_KEY_LENGTH} characters Z85")
    if not keys:
        _refuse(path, "there is no key in it, so that no client could connect")
    return frozenset(keys)


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"Can't read {path}: {error.strerror or error}") from error
    if len(data) > _LONGEST_FILE:
        _refuse(path, f"it is longer than {_LONGEST_FILE} bytes")
    return data


def _lines(data: bytes) -> list[bytes]:
    """Those that say something; `#` may also begin a key."""
    lines = [line.strip() for line in data.splitlines()]
    return [line for line in lines if line and (not line.startswith(b"#") or _is_key(line))]


def _is_key(text: bytes) -> bool:
    if len(text) != _KEY_LENGTH or not set(text) <= _VALUES.keys():
        return False
    return all(_number(text[at : at + _GROUP]) < 1 << 32 for at in range(0, _KEY_LENGTH, _GROUP))


def _number(group: bytes) -> int:
    number = 0
    for character in group:
        number = number * len(_ALPHABET) + _VALUES[character]
    return number


def _refuse(path: str, text: str) -> NoReturn:
    raise ServingError(Code.INVALID_ARGUMENT, f"Not a file of CURVE keys: {path}: {text}")
