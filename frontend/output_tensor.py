"""What the checks of classify's and regress's outputs share."""

from __future__ import annotations

from frontend.tensors import Tensor
from ringserve.tensor import DType


def shape_text(tensor: Tensor) -> str:
    """A shape as TensorFlow's error texts show it."""
    return f"[{','.join(map(str, tensor.shape))}]"


def type_text(dtype: DType) -> str:
    """An element type by the name of TensorFlow's constant."""
    return f"DT_{dtype.name.upper()}"
