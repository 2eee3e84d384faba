"""PredictRequest messages on the wire, written by hand around the tensors' bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy.typing as npt

from ringserve.model_spec_writer import text_field
from ringserve.tensor import DType
from ringserve.tensor_proto_writer import Buffer, length_of, tensor_proto_parts, varint

_INPUT_TAG: Final = b"\x12"
_KEY_TAG: Final = b"\x0a"
_VALUE_TAG: Final = b"\x12"
_OUTPUT_FILTER_TAG: Final = b"\x1a"

#: An input's alias, type, shape, and array or strings.
Input = tuple[str, DType, Sequence[int], npt.NDArray[Any] | list[bytes]]


def predict_request(spec: bytes, inputs: Iterable[Input], outputs: Iterable[str] = ()) -> bytes:
    """A serialised PredictRequest, with one copy of the numbers.

    `spec`: the field that `model_spec_field` writes; `outputs`: only these are asked for, where there are any. Raises
    ServingError as `tensor_proto_parts` does.
    """
    parts: list[Buffer] = [spec]
    for alias, dtype, shape, data in inputs:
        tensor = tensor_proto_parts(dtype, shape, data, content=not isinstance(data, list))
        key = _key(alias)
        size = length_of(tensor)
        value_head = _VALUE_TAG + varint(size)
        parts += (_INPUT_TAG, varint(len(key) + len(value_head) + size), key, value_head, *tensor)
    parts += [text_field(_OUTPUT_FILTER_TAG, alias) for alias in outputs]
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _key(alias: str) -> bytes:
    return text_field(_KEY_TAG, alias)
