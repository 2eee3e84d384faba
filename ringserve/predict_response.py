"""PredictResponse messages on the wire, written by hand around the tensors' bytes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import numpy.typing as npt

from ringserve.servable import ServableId
from ringserve.tensor import DType
from ringserve.tensor_proto_writer import Buffer, length_of, tensor_proto_parts, varint

_OUTPUT_TAG: Final = b"\x0a"
_KEY_TAG: Final = b"\x0a"
_VALUE_TAG: Final = b"\x12"
_MODEL_SPEC_TAG: Final = b"\x12"
_NAME_TAG: Final = b"\x0a"
_VERSION_TAG: Final = b"\x12"
_SIGNATURE_TAG: Final = b"\x1a"
_INT64_TAG: Final = b"\x08"

_MOST_KEPT: Final = 1024  # names whose bytes are remembered

#: An output's alias, type, shape, and array or strings.
Output = tuple[str, DType, tuple[int, ...], npt.NDArray[Any] | list[bytes]]


def predict_response(servable: ServableId, signature: str, outputs: Iterable[Output], content: bool = False) -> bytes:
    """A serialised PredictResponse, with one copy of the numbers that need no conversion.

    `content`: what --enable_serialization_as_tensor_content says. Raises ServingError as `tensor_proto_parts` does.
    """
    parts: list[Buffer] = []
    for alias, dtype, shape, data in outputs:
        tensor = tensor_proto_parts(dtype, shape, data, content)
        key = _key(alias)
        size = length_of(tensor)
        value_head = _VALUE_TAG + varint(size)
        parts += (_OUTPUT_TAG, varint(len(key) + len(value_head) + size), key, value_head, *tensor)
    parts.append(_model_spec(servable, signature))
    return b"".join(parts)


@lru_cache(_MOST_KEPT)
def _key(alias: str) -> bytes:
    return _text(_KEY_TAG, alias)


@lru_cache(_MOST_KEPT)
def _model_spec(servable: ServableId, signature: str) -> bytes:
    version = _INT64_TAG + varint(servable.version) if servable.version else b""
    name = _text(_NAME_TAG, servable.name)
    spec = b"".join((name, _VERSION_TAG, varint(len(version)), version, _text(_SIGNATURE_TAG, signature)))
    return b"".join((_MODEL_SPEC_TAG, varint(len(spec)), spec))


def _text(tag: bytes, text: str) -> bytes:
    encoded = text.encode()
    return b"".join((tag, varint(len(encoded)), encoded))
