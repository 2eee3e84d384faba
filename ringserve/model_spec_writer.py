"""ModelSpec messages on the wire: `name` = 1, `version` (an Int64Value) = 2, `signature_name` = 3, `version_label` = 4."""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import Final

from ringserve.errors import Code, ServingError
from ringserve.tensor_proto_writer import varint

_SPEC_TAG: Final = b"\x0a"
_NAME_TAG: Final = b"\x0a"
_VERSION_TAG: Final = b"\x12"
_SIGNATURE_TAG: Final = b"\x1a"
_LABEL_TAG: Final = b"\x22"
_INT64_TAG: Final = b"\x08"
_SIGN: Final = 1 << 63
_64_BITS: Final = (1 << 64) - 1


def model_spec_field(name: str, version: int | None = None, label: str | None = None, signature: str = "") -> bytes:
    """As the first field of a request, from what a caller passes: any type of whole number is a version.

    Raises ServingError (INVALID_ARGUMENT) for what no ModelSpec can say.
    """
    for words in (name, label, signature):  # before the cache, which takes equal things of other types for the same
        if words is not None and not isinstance(words, str):
            raise _no_text(words)
    if version is not None:
        try:
            version = operator.index(version)
        except TypeError:
            raise _no_version() from None
    spec = model_spec_bytes(name, version, label, signature)
    return b"".join((_SPEC_TAG, varint(len(spec)), spec))


@lru_cache(maxsize=1024)  # answers name what is served; a client asks for the same again and again
def model_spec_bytes(name: str, version: int | None = None, label: str | None = None, signature: str = "") -> bytes:
    """The message alone. `version` is an int. Raises ServingError (INVALID_ARGUMENT)."""
    if version is not None and label is not None:
        raise _invalid("A model's version is asked for by number or by label, not by both")
    parts = [text_field(_NAME_TAG, name)]
    if version is not None:
        if not -_SIGN <= version < _SIGN:
            raise _no_version()
        number = _INT64_TAG + varint(version & _64_BITS) if version else b""
        parts += (_VERSION_TAG, varint(len(number)), number)
    if signature:
        parts.append(text_field(_SIGNATURE_TAG, signature))
    if label is not None:
        parts.append(text_field(_LABEL_TAG, label))
    return b"".join(parts)


def text_field(tag: bytes, text: str) -> bytes:
    """A string with its tag. Raises ServingError (INVALID_ARGUMENT) where it is no Unicode text."""
    if not isinstance(text, str):  # mistaken callers of a client
        raise _no_text(text)
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(f"{text!r} has no UTF-8 form") from error
    return b"".join((tag, varint(len(encoded)), encoded))


def _no_text(name: object) -> ServingError:
    return _invalid(f"Names are text, not {type(name).__name__}")


def _no_version() -> ServingError:
    return _invalid("A model's version is a whole number of 64 bits")


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
