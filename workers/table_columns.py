"""The two columns of a lookup table: which type each has, and its cells as arrays of that type."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, DType

Array = npt.NDArray[Any]
Cells = Sequence[Any] | Array

KEY_TYPES: Final = ("string", "int64")
VALUE_TYPES: Final = ("string", "int64", "float", "double")

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)")  # as JSON writes one: 007 is a text
_NUMBER: Final = re.compile(_INTEGER.pattern + r"(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LONGEST_INTEGER: Final = 20  # characters of the least int64


@dataclass(frozen=True, slots=True)
class Column:
    """`cells`: numbers with the dtype's storage, or an object array of bytes; a first dimension, of vectors more."""

    dtype: DType
    cells: Array


def key_column(cells: Cells, wanted: str, is_text: bool) -> Column:
    """Of strings or int64: as `wanted` says, or, where that is "", as the cells are.

    `is_text`: the cells come from a text file, in which a number looks like a string. Raises ServingError
    (INVALID_ARGUMENT).
    """
    if wanted:
        name = wanted
    elif isinstance(cells, np.ndarray):
        name = "int64" if cells.dtype.kind in "iu" else "string"
    else:
        name = "int64" if (_are_integers(cells) if is_text else set(map(type, cells)) == {int}) else "string"
    column = Column(BY_NAME[name], _cells(cells, name, lambda index: f"key {index + 1}"))
    if column.cells.ndim != 1:
        raise _wrong("keys must be strings or integers, not vectors")
    return column


def value_column(cells: Cells, wanted: str, is_text: bool, keys: Cells) -> Column:
    """Of strings, numbers or vectors of numbers: int64 where all are integers, else double; float only of such arrays.

    Arguments and errors as for `key_column`; `keys` are for the errors' texts.
    """
    name = wanted or (_array_type(cells) if isinstance(cells, np.ndarray) else _list_type(cells, is_text))
    return Column(BY_NAME[name], _cells(cells, name, lambda index: f"the value of key {_shown(keys[index])}"))


def _array_type(cells: Array) -> str:
    kind = cells.dtype.kind
    if kind == "f":
        return "float" if cells.dtype.itemsize <= 4 else "double"
    return "int64" if kind in "iu" else "string"


def _list_type(cells: Sequence[Any], is_text: bool) -> str:
    if is_text:
        if _are_integers(cells):
            return "int64"
        return "double" if cells and all(map(_NUMBER.fullmatch, cells)) else "string"
    types = set(map(type, cells))
    if types == {list}:
        types = set(map(type, chain.from_iterable(cells)))
    if types == {int}:
        return "int64"
    return "double" if types and types <= {int, float} else "string"


def _are_integers(cells: Sequence[str]) -> bool:
    """Are these texts integers that int64 can hold? None of them are none."""
    if not cells or not all(map(_INTEGER.fullmatch, cells)) or len(max(cells, key=len)) > _LONGEST_INTEGER:
        return False
    try:
        np.fromiter(map(int, cells), dtype=np.int64, count=len(cells))
    except OverflowError:
        return False
    return True


def _cells(cells: Cells, name: str, which: Callable[[int], str]) -> Array:
    if isinstance(cells, np.ndarray):
        return _of_array(cells, name)
    return _texts(cells, which) if name == "string" else _numbers(cells, name, which)


def _of_array(cells: Array, name: str) -> Array:
    kind = cells.dtype.kind
    if name == "string":
        if kind not in "SU" or cells.ndim != 1:
            raise _wrong(f"an array of {cells.dtype} with {cells.ndim} dimensions can't be strings")
        return _texts(cells.tolist(), lambda index: f"element {index}")
    if kind not in ("iu" if name == "int64" else "iuf") or cells.dtype.itemsize > 8:
        raise _wrong(f"an array of {cells.dtype} can't be {name}")
    if name == "int64" and kind == "u" and cells.size and int(cells.max()) >= 1 << 63:
        raise _wrong(f"{cells.max()} does not fit int64")
    return np.ascontiguousarray(cells, dtype=BY_NAME[name].numpy)


def _texts(cells: Sequence[Any], which: Callable[[int], str]) -> Array:
    made = np.empty(len(cells), dtype=object)
    try:
        made[:] = cells if set(map(type, cells)) == {bytes} else list(map(str.encode, cells))
    except (TypeError, UnicodeEncodeError):
        index = next(index for index, cell in enumerate(cells) if not _is_text(cell))
        raise _wrong(f"{which(index)}: {_shown(cells[index])} is no string as others are") from None
    return made


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str) and not any("\ud800" <= character <= "\udfff" for character in cell)


def _numbers(cells: Sequence[Any], name: str, which: Callable[[int], str]) -> Array:
    size = None
    flat = cells
    if cells and isinstance(cells[0], list):
        size = len(cells[0])
        for index, cell in enumerate(cells):
            if not isinstance(cell, list) or len(cell) != size:
                raise _wrong(f"{which(index)}: {_shown(cell)} is no vector of {size} numbers as others are")
        flat = list(chain.from_iterable(cells))
    number: type[int] | type[float] = int if name == "int64" else float
    types = set(map(type, flat))
    if types == {str}:
        pattern = _INTEGER if number is int else _NUMBER
        wrong = next((index for index, cell in enumerate(flat) if not pattern.fullmatch(cell)), None)
    elif types <= {int, number}:
        wrong = None
    else:
        wrong = next(index for index, cell in enumerate(flat) if type(cell) not in (int, number))
    if wrong is not None:
        raise _wrong(f"{which(wrong // (size or 1))}: {_shown(flat[wrong])} is no {name}")
    try:
        plain = list(map(number, flat)) if types == {str} else flat
        made = np.array(plain, dtype=np.int64 if number is int else np.float64)
    except (OverflowError, ValueError) as error:  # ValueError: thousands of digits
        raise _wrong(f"a number does not fit {name}") from error
    with np.errstate(over="ignore"):  # as anywhere a float is read: too large is infinite
        return made.astype(BY_NAME[name].numpy).reshape((len(cells),) if size is None else (len(cells), size))


def _shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 100 else text[:97] + "..."


def _wrong(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
