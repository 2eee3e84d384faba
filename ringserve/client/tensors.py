"""Arrays and plain Python values to tensors, and tensors to arrays.

What has a type keeps it: a float64 array is a `double` tensor, which a server refuses where it wants `float`. Plain numbers
have none, and become what the signature's input is, where that loses nothing but digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, DTYPES, STRING, DType

Array = npt.NDArray[Any]

#: A type, shape, and flat or shaped array, or strings in row-major order.
Tensor = tuple[DType, Sequence[int], Array | list[bytes]]

_BFLOAT16: Final = BY_NAME["bfloat16"]
_BOOL: Final = BY_NAME["bool"]
_BY_NUMPY: Final = {
    np.dtype(dtype.numpy): dtype
    for dtype in DTYPES.values()
    if dtype.numpy and dtype is not _BFLOAT16 and not dtype.name.startswith(("qint", "quint"))
}
_MOST_DIMS: Final = 64  # of a numpy array


def has_type(value: Any) -> bool:
    """Does it say itself what it holds? Arrays, numpy's scalars and other libraries' tensors do."""
    return hasattr(value, "__array__")


def tensor_of(value: Any) -> Tensor:
    """Of anything that `has_type`. Raises ServingError (INVALID_ARGUMENT) where TensorFlow has no such type."""
    array = value if type(value) is np.ndarray else np.asarray(value)
    dtype = _BY_NUMPY.get(array.dtype)
    if dtype is not None:
        return dtype, array.shape, array
    if array.dtype.kind in "OSUT":
        return STRING, array.shape, [_string(element) for element in array.ravel().tolist()]
    if array.dtype.name == _BFLOAT16.name:
        return _BFLOAT16, array.shape, np.ascontiguousarray(array).view("<u2")
    little = array.dtype.newbyteorder("<")
    dtype = _BY_NUMPY.get(little)
    if dtype is None:
        raise _invalid(f"an array of {array.dtype} has no type of TensorFlow's")
    return dtype, array.shape, array.astype(little)


def strings_of(value: Any) -> Tensor | None:
    """Of a plain value that is made of texts or bytes; None: it is made of something else.

    Raises ServingError (INVALID_ARGUMENT) where not all of it is, or rows differ in length.
    """
    first = value
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not isinstance(first, str | bytes):
        return None
    return tensor_of(np.asarray(value, dtype=object))  # numpy's own string types would lose NULs at their end


def numbers_of(value: Any, dtype: DType) -> Tensor:
    """Of a plain value made of numbers, as a tensor of that type.

    Raises ServingError (INVALID_ARGUMENT) where it does not fit: fractions and integers out of range into integers, anything
    but bools into bools.
    """
    try:
        found = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise _invalid(f"not an array: {error}") from error
    if found.dtype.kind not in "biufc":
        raise _unfit(found, dtype)
    if not found.size:
        found = found.astype(np.bool_)  # what fits everything
    if dtype is _BFLOAT16:
        return tensor_of(_real(found, dtype).astype(_bfloat16()))
    if not dtype.numpy:
        raise _invalid(f"numbers do not fit into an input of {dtype.name}")
    wanted = np.dtype(dtype.numpy)
    if wanted.kind in "iu":
        _check_integers(found, wanted, dtype)
    elif wanted.kind == "f":
        _real(found, dtype)
    elif wanted.kind == "b" and found.dtype.kind != "b":
        raise _unfit(found, dtype)
    with np.errstate(over="ignore"):  # a number beyond a float's range is infinite, as everywhere
        return dtype, found.shape, found.astype(wanted)


def array_of(dtype: DType, shape: Sequence[int], values: Array | list[bytes]) -> Array:
    """A tensor as an array of its own memory. Raises ServingError (UNIMPLEMENTED) where numpy has no such array."""
    if len(shape) > _MOST_DIMS:
        raise ServingError(Code.UNIMPLEMENTED, f"an array of {len(shape)} dimensions; numpy has at most {_MOST_DIMS}")
    if isinstance(values, list):
        owned = np.empty(len(values), dtype=object)
        owned[:] = values
    else:
        owned = values if values.flags.writeable else values.copy()
        if dtype is _BFLOAT16:
            owned = owned.view(_bfloat16())
    try:
        return owned.reshape(shape)
    except ValueError as error:  # even one without elements has limits
        raise ServingError(Code.UNIMPLEMENTED, f"an array of the shape {list(shape)}; numpy has none: {error}") from error


def numpy_type(dtype: DType) -> np.dtype[Any]:
    """Of arrays that hold this type. Raises ServingError (UNIMPLEMENTED) where there are none."""
    if dtype is STRING:
        return np.dtype(object)
    if dtype is _BFLOAT16:
        found: np.dtype[Any] = _bfloat16()
        return found
    if not dtype.numpy:
        raise ServingError(Code.UNIMPLEMENTED, f"there are no arrays of {dtype.name}")
    return np.dtype(dtype.numpy)


def _check_integers(found: Array, wanted: np.dtype[Any], dtype: DType) -> None:
    if found.dtype.kind not in "biu":
        raise _unfit(found, dtype)
    limits = np.iinfo(wanted)
    if found.size and found.dtype.kind != "b" and not (limits.min <= int(found.min()) and int(found.max()) <= limits.max):
        raise _invalid(f"numbers from {found.min()} to {found.max()} do not fit into an input of {dtype.name}")


def _real(found: Array, dtype: DType) -> Array:
    if found.dtype.kind not in "biuf":
        raise _unfit(found, dtype)
    return found


def _bfloat16() -> Any:
    try:
        import ml_dtypes  # noqa: PLC0415 - not everybody has it
    except ImportError as error:
        text = "bfloat16 arrays need the package ml_dtypes, which is not installed"
        raise ServingError(Code.UNIMPLEMENTED, text) from error
    return np.dtype(ml_dtypes.bfloat16)


def _string(element: Any) -> bytes:
    if type(element) is bytes:
        return element
    if isinstance(element, str):
        try:
            return element.encode()
        except UnicodeEncodeError as error:
            raise _invalid(f"{element!r} has no UTF-8 form") from error
    if isinstance(element, bytes | bytearray | memoryview):
        return bytes(element)
    raise _invalid(f"an array of objects holds strings, not {type(element).__name__}")


def _unfit(found: Array, dtype: DType) -> ServingError:
    return _invalid(f"{found.dtype} values do not fit into an input of {dtype.name}")


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
