"""PredictResponse messages on the wire, written by hand around the tensors' bytes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import numpy.typing as npt

from ringserve.model_spec_writer import model_spec_bytes, text_field
from ringserve.servable import ServableId
from ringserve.tensor import DType
from ringserve.tensor_proto_writer import Buffer, length_of, tensor_proto_parts, varint

_OUTPUT_TAG: Final = b"\x0a"
_KEY_TAG: Final = b"\x0a"
_VALUE_TAG: Final = b"\x12"
_MODEL_SPEC_TAG: Final = b"\x12"

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
    spec = model_spec_bytes(servable.name, servable.version, None, signature)
    return b"".join((*parts, _MODEL_SPEC_TAG, varint(len(spec)), spec))


@lru_cache(_MOST_KEPT)
def _key(alias: str) -> bytes:
    return text_field(_KEY_TAG, alias)
