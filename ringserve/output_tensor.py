"""What the checks of classify's and regress's outputs share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from ringserve.tensor import DType

Array = npt.NDArray[Any]


class OutputTensor(Protocol):
    """`data` is an array of the dtype's storage (`DType.numpy`), or, for strings, the elements in row-major order."""

    @property
    def dtype(self) -> DType: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def data(self) -> Array | list[bytes]: ...


def shape_text(tensor: OutputTensor) -> str:
    """A shape as TensorFlow's error texts show it."""
    return f"[{','.join(map(str, tensor.shape))}]"


def type_text(dtype: DType) -> str:
    """An element type by the name of TensorFlow's constant."""
    return f"DT_{dtype.name.upper()}"
