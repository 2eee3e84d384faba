"""Runs through the TensorFlow engine, their answers copied out as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringserve.options import ServerOptions
from ringserve.signature import DEFAULT_SIGNATURE
from ringserve.tensor import BY_NAME, STRING, dtype_of
from shm.layout import Column
from shm.packed import PackedTensor, pack_strings, unpack_strings
from workers.engine import Form, LoadedVersion
from workers.tf.engine import TensorFlowEngine
from workers.tf.session import Session

Array = npt.NDArray[Any]

FLOAT = BY_NAME["float"].number
INT32 = BY_NAME["int32"].number
ROW = (FLOAT, Column("<f4", ()))
ROWS = Form((ROW,), (ROW,))

Load = Callable[[str], LoadedVersion]


def make_engine() -> TensorFlowEngine:
    """An engine with the defaults of the command line."""
    return TensorFlowEngine(ServerOptions())


def loads(engine: TensorFlowEngine, models: Path) -> Iterator[Load]:
    """A function that loads version 1 of a model, each once; for a fixture to `yield from`."""
    loaded: dict[str, Session] = {}

    def load_once(name: str) -> LoadedVersion:
        if name not in loaded:
            loaded[name] = engine.load(str(models / name / "1"))
        return loaded[name]

    yield load_once
    for version in loaded.values():
        version.unload()


def numbers(array: Array, dtype: str = "float") -> PackedTensor:
    """The array as it lies, as a tensor of this type."""
    return PackedTensor(BY_NAME[dtype].number, array.shape, array.tobytes())


def floats(*values: float) -> PackedTensor:
    return numbers(np.array(values, dtype="<f4"))


def strings(values: Sequence[bytes], shape: tuple[int, ...] | None = None) -> PackedTensor:
    return PackedTensor(STRING.number, (len(values),) if shape is None else shape, pack_strings(values))


def run(
    version: LoadedVersion, *tensors: PackedTensor, signature: str = DEFAULT_SIGNATURE, inline: bool = True
) -> list[PackedTensor]:
    """The answers of one run, as copies."""
    with version.run(signature, tensors, inline) as answers:
        return [PackedTensor(answer.dtype, answer.shape, bytes(answer.data)) for answer in answers]


def array_of(tensor: PackedTensor) -> Array:
    return np.frombuffer(tensor.data, dtype=dtype_of(tensor.dtype).numpy).reshape(tensor.shape)


def texts_of(tensor: PackedTensor) -> list[bytes]:
    assert tensor.dtype == STRING.number
    return unpack_strings(tensor.data, int(np.prod(tensor.shape, dtype=np.int64)))


def aligned(nbytes: int, offset: int = 0) -> npt.NDArray[np.uint8]:
    """Zeros that begin `offset` bytes behind a multiple of 64."""
    raw = np.zeros(nbytes + 128, dtype=np.uint8)
    start = -address_of(raw) % 64 + offset
    return raw[start : start + nbytes]


def address_of(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
