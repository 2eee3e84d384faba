"""Names of element types as clients write them: TensorFlow's and numpy's."""

from __future__ import annotations

from typing import Final

from ringserve.tensor import BY_NAME, STRING, DType

#: numpy's name of each type that numpy has.
_NUMPY_NAMES: Final = {
    "float": "float32", "double": "float64", "half": "float16", "bool": "bool", "complex64": "complex64",
    "complex128": "complex128", **{name: name for name in BY_NAME if name.startswith(("int", "uint"))},
}  # fmt: skip
_CARRIED: Final = {name: dtype for name, dtype in BY_NAME.items() if dtype.numpy or dtype is STRING}
_NAMED: Final = (
    {numpy: BY_NAME[name] for name, numpy in _NUMPY_NAMES.items()}
    | {f"dt_{name}": dtype for name, dtype in _CARRIED.items()}
    | _CARRIED  # last: "float" is TensorFlow's, 32 bits
)
#: The types that an array of numpy's can be of, by kind and size: "f4".
BY_STORAGE: Final = {BY_NAME[name].numpy[1:]: BY_NAME[name] for name in _NUMPY_NAMES}

EXPECTED: Final = "a name like float32, int64, bool or string (numpy's) or float, half or DT_FLOAT (TensorFlow's)"


def named_dtype(name: str) -> DType | None:
    """In any case: "float32", "float", "DT_FLOAT"; None for a name that means nothing, or a type that can't be sent."""
    return _NAMED.get(name) or _NAMED.get(name.lower())


def numpy_name(dtype: DType) -> str:
    """numpy's name, which means the same to `numpy.dtype`; TensorFlow's where numpy has no such type."""
    return _NUMPY_NAMES.get(dtype.name, dtype.name)
