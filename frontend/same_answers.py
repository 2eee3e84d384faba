"""Do two versions answer a request alike? Numbers may differ as far as the order of sums explains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from frontend.tensors import Array, Tensor
from ringserve.signature import TensorSpec

_RELATIVE: Final = 1e-4
_RELATIVE_16_BIT: Final = 1e-2
_ABSOLUTE: Final = 1e-6
_16_BIT: Final = ("bfloat16", "half")


def same_answers(
    specs: Sequence[TensorSpec], answer: Sequence[Tensor], other_specs: Sequence[TensorSpec], other: Sequence[Tensor]
) -> bool:
    """Both have outputs of the same names and shapes, with floats that are close, NaN beside NaN, and all else equal."""
    if [spec.alias for spec in specs] != [spec.alias for spec in other_specs]:
        return False
    return len(answer) == len(other) and all(_same(one, two) for one, two in zip(answer, other, strict=True))


def _same(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape:
        return False
    if isinstance(one.data, list) or isinstance(two.data, list):
        return isinstance(one.data, list) and isinstance(two.data, list) and one.data == two.data
    left, right = _numbers(one), _numbers(two)
    if left.dtype.kind in "fc" or right.dtype.kind in "fc":
        relative = _RELATIVE_16_BIT if {one.dtype.name, two.dtype.name}.intersection(_16_BIT) else _RELATIVE
        with np.errstate(all="ignore"):
            return bool(np.allclose(right, left, rtol=relative, atol=_ABSOLUTE, equal_nan=True))
    return bool(np.array_equal(left, right))  # a class or an id that is merely close is another one


def _numbers(tensor: Tensor) -> Array:
    """An array to reckon with: bfloat16, stored as its pattern, as the float32 that it is the upper half of."""
    array = np.asarray(tensor.data)
    if tensor.dtype.name == "bfloat16":
        return (array.astype("<u4") << np.uint32(16)).view("<f4")
    return array.astype("<f4") if tensor.dtype.name == "half" else array  # it has no room for the tolerance
