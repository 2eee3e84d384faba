"""The platform "lookup_table": a version is a file of keys and values, a request is keys, its answer their values."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError
from ringserve.loader import Loader
from ringserve.servable import Servable
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.tensor import STRING
from workers.table_columns import KEY_TYPES, VALUE_TYPES, Column, key_column, value_column
from workers.table_file import read_table, table_files

Array = npt.NDArray[Any]

_OPTIONS: Final = ("file", "key_type", "value_type", "default")
_TEXT_TO_MEMORY: Final = 10  # bytes in memory for one in a text file, where each cell is an object of its own
_ARRAY_TO_MEMORY: Final = 2
_LONGEST_KEY: Final = 200  # characters of a key in an error's text


class LookupTableLoader(Loader):
    """Options: `file`, `key_type`, `value_type`, `default`; docs/plugins.md says more."""

    def estimate(self) -> int:
        files = table_files(self.path, self.options)
        return sum(map(os.path.getsize, files)) * (_ARRAY_TO_MEMORY if len(files) == 2 else _TEXT_TO_MEMORY)

    def load(self) -> Servable:
        self._check_options()
        files = table_files(self.path, self.options)
        keys, values = read_table(files)
        is_text = files[0].endswith(".csv")
        try:
            key_cells = key_column(keys, self.options.get("key_type", ""), is_text)
            value_cells = value_column(values, self.options.get("value_type", ""), is_text, keys)
        except ServingError as error:
            raise ServingError(error.code, f"{files[-1]}: {error.message}") from error
        return LookupTable(key_cells, value_cells, self._default(value_cells))

    def _check_options(self) -> None:
        unknown = sorted(set(self.options) - set(_OPTIONS))
        if unknown:
            raise _wrong(f"unknown: {', '.join(unknown)}; known are {', '.join(_OPTIONS)}")
        for name, known in (("key_type", KEY_TYPES), ("value_type", VALUE_TYPES)):
            if name in self.options and self.options[name] not in known:
                raise _wrong(f'"{name}" must be one of {", ".join(known)}, not "{self.options[name]}"')

    def _default(self, values: Column) -> Array | None:
        """The answer for unknown keys, a row as the table has them; None where there is none."""
        if "default" not in self.options:
            return None
        text = self.options["default"]
        if values.dtype == STRING:
            row = np.empty(1, dtype=object)
            row[0] = text.encode()
            return row
        try:
            parsed = np.array(json.loads(text))
        except (ValueError, RecursionError):
            parsed = np.array(text)
        if parsed.dtype.kind not in ("i" if values.dtype.name == "int64" else "if"):
            raise _wrong(f'"default" must be of the values\' type {values.dtype.name}, not "{text}"')
        if parsed.shape != values.cells.shape[1:]:
            raise _wrong(f'"default" has the shape {list(parsed.shape)}, the values {list(values.cells.shape[1:])}')
        with np.errstate(over="ignore"):
            return parsed[np.newaxis].astype(values.cells.dtype)


def _wrong(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"loader_options: {text}")


class LookupTable:
    """A table in memory. Implements `ringserve.servable.Servable`."""

    def __init__(self, keys: Column, values: Column, default: Array | None) -> None:
        """Of a key that comes more than once, the first counts. `default`: the row for unknown keys."""
        self._index: _Index = _Texts(keys.cells) if keys.dtype == STRING else _Integers(keys.cells)
        self._default_row = len(values.cells)
        self._has_default = default is not None
        self._values = values.cells if default is None else np.concatenate([values.cells, default])
        inputs = {"keys": (keys.dtype.name, (-1,))}
        outputs = {"values": (values.dtype.name, (-1, *values.cells.shape[1:]))}
        self.signatures: Mapping[str, Signature] = {DEFAULT_SIGNATURE: Signature.of(inputs, outputs)}

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Raises ServingError (NOT_FOUND) for an unknown key where there is no default."""
        keys = inputs["keys"]
        rows = self._index.rows(keys)
        unknown = rows < 0
        if unknown.any():
            if not self._has_default:
                raise ServingError(Code.NOT_FOUND, f"Key {_shown(keys[int(unknown.argmax())])} is not in the table")
            rows = np.where(unknown, self._default_row, rows)
        return {"values": self._values[rows]}


class _Index(Protocol):
    def rows(self, keys: Array) -> Array:
        """The row of each key, -1 where there is none."""


class _Texts:
    def __init__(self, keys: Array) -> None:
        # Backwards: the first of several wins.
        self._rows = dict(zip(keys[::-1].tolist(), range(len(keys) - 1, -1, -1), strict=True))

    def rows(self, keys: Array) -> Array:
        find = self._rows.get
        return np.fromiter((find(key, -1) for key in keys.tolist()), dtype=np.int64, count=len(keys))


class _Integers:
    """Sorted keys: a tenth of a dict's memory, and many keys are found at once."""

    def __init__(self, keys: Array) -> None:
        self._keys, self._rows = np.unique(keys, return_index=True)

    def rows(self, keys: Array) -> Array:
        if not len(self._keys):
            return np.full(len(keys), -1)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, self._rows[places], -1)


def _shown(key: Any) -> str:
    if not isinstance(key, bytes):
        return str(key)
    text = key[: 4 * _LONGEST_KEY].decode(errors="replace")
    return f'"{text}"' if len(text) <= _LONGEST_KEY else f'"{text[:_LONGEST_KEY]}..."'
