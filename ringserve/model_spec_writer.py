"""ModelSpec messages on the wire: `name` = 1, `version` (an Int64Value) = 2, `signature_name` = 3, `version_label` = 4."""

from __future__ import annotations

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
_INT64: Final = range(-(1 << 63), 1 << 63)
_64_BITS: Final = (1 << 64) - 1


def model_spec_field(name: str, version: int | None = None, label: str | None = None, signature: str = "") -> bytes:
    """As the first field of a request. Raises ServingError (INVALID_ARGUMENT) for what no ModelSpec can say."""
    spec = model_spec_bytes(name, version, label, signature)
    return b"".join((_SPEC_TAG, varint(len(spec)), spec))


@lru_cache(maxsize=1024)  # answers name what is served; a client asks for the same again and again
def model_spec_bytes(name: str, version: int | None = None, label: str | None = None, signature: str = "") -> bytes:
    """The message alone. Raises ServingError (INVALID_ARGUMENT)."""
    if version is not None and label is not None:
        raise _invalid("A model's version is asked for by number or by label, not by both")
    parts = [text_field(_NAME_TAG, name)]
    if version is not None:
        if version not in _INT64:
            raise _invalid(f"{version} is not the number of a version")
        number = _INT64_TAG + varint(version & _64_BITS) if version else b""
        parts += (_VERSION_TAG, varint(len(number)), number)
    if signature:
        parts.append(text_field(_SIGNATURE_TAG, signature))
    if label is not None:
        parts.append(text_field(_LABEL_TAG, label))
    return b"".join(parts)


def text_field(tag: bytes, text: str) -> bytes:
    """A string with its tag. Raises ServingError (INVALID_ARGUMENT) where it is no Unicode text."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(f"{text!r} has no UTF-8 form") from error
    return b"".join((tag, varint(len(encoded)), encoded))


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
