"""The rows that a local client wants columns for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from frontend.catalog import Version
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature
from ringserve.tensor import dtype_of

#: Dtype number, numpy type and shape of one row, for each input.
Rows = tuple[tuple[int, str, tuple[int, ...]], ...]

_MOST_DIMS: Final = 31  # and the rows' own: half of what numpy can do
_MOST_FORMS: Final = 8  # of a signature: each is tried out by the worker, which remembers how that went


def read_rows(found: Any, signature: Signature, most_bytes: int) -> Rows | None:
    """As a client writes them, one `[dtype number, numpy type, row shape]` for each input in the signature's order.

    None: as the signature declares them. `most_bytes`: of one row. Raises ServingError (INVALID_ARGUMENT).
    """
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != len(signature.inputs) or not found:
        raise _invalid(f"expected rows of {len(signature.inputs)} inputs")
    rows = []
    size = 0
    for column, spec in zip(found, signature.inputs, strict=True):
        shape = _shape(column)
        number, storage = column[0], column[1]
        dtype = dtype_of(spec.dtype.number)
        if not dtype.numpy or (number, storage) != (dtype.number, dtype.numpy):
            raise _invalid(f"expected a column of {dtype.name} ({dtype.number}, {dtype.numpy!r}) for {spec.alias}")
        size += math.prod(shape) * int(dtype.numpy[2:])
        rows.append((dtype.number, dtype.numpy, shape))
    if size > most_bytes:
        raise _invalid(f"a row of {size} bytes is larger than a request may be, {most_bytes}")
    return tuple(rows)


def _shape(column: Any) -> tuple[int, ...]:
    if not isinstance(column, list) or len(column) != 3 or not isinstance(column[2], list):
        raise _invalid("expected a dtype's number, its numpy type and a shape for each input")
    shape: Sequence[Any] = column[2]
    if len(shape) > _MOST_DIMS or any(type(dim) is not int or not 0 < dim < 1 << 31 for dim in shape):
        raise _invalid(f"expected a shape of at most {_MOST_DIMS} dimensions, none of them empty")
    return tuple(shape)


class WantedForms:
    """Which rows clients have asked columns for, of each version: no more than so many."""

    def __init__(self) -> None:
        self._wanted: WeakKeyDictionary[Version, dict[str, set[Rows]]] = WeakKeyDictionary()

    def note(self, version: Version, signature: str, rows: Rows | None) -> None:
        """Raises ServingError (RESOURCE_EXHAUSTED) for one too many."""
        if rows is None:
            return
        wanted = self._wanted.setdefault(version, {}).setdefault(signature, set())
        if rows not in wanted and len(wanted) >= _MOST_FORMS:
            text = f"Local clients have asked for {_MOST_FORMS} forms of rows already; others travel packed"
            raise ServingError(Code.RESOURCE_EXHAUSTED, text)
        wanted.add(rows)


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"inputs: {text}")
