"""The files of a lookup table: one of keys and values, or one of each, read as two lists or arrays of one length."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError

Array = npt.NDArray[Any]

CSV, JSON, KEYS, VALUES = "table.csv", "table.json", "keys.npy", "values.npy"
_ARRAYS: Final = f"{KEYS} with {VALUES}"
_LONGEST_CELL: Final = (1 << 31) - 1


def table_files(folder: str, options: Mapping[str, str]) -> list[str]:
    """The paths of the table's file or files: the one that the option "file" names, else the one there is.

    Raises ServingError where there is none, or more than one to choose from.
    """
    if name := options.get("file"):
        if os.path.basename(name) != name or not name.endswith((".csv", ".json")):
            text = f'loader_options: "file" must be the name of a .csv or .json file in the version\'s folder, not "{name}"'
            raise ServingError(Code.INVALID_ARGUMENT, text)
        return [_present(folder, name)]
    there = [name for name in (CSV, JSON) if os.path.isfile(os.path.join(folder, name))]
    arrays = [name for name in (KEYS, VALUES) if os.path.isfile(os.path.join(folder, name))]
    if len(there) + bool(arrays) > 1:
        found = ", ".join(there + arrays)
        raise ServingError(Code.INVALID_ARGUMENT, f"{folder} holds more than one table: {found}")
    if arrays:
        return [_present(folder, KEYS), _present(folder, VALUES)]
    if not there:
        raise ServingError(Code.NOT_FOUND, f"{folder} holds no table: {CSV}, {JSON} or {_ARRAYS} expected")
    return [_present(folder, there[0])]


def _present(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise ServingError(Code.NOT_FOUND, f"{path}; No such file")
    return path


def read_table(files: list[str]) -> tuple[list[Any] | Array, list[Any] | Array]:
    """Keys and values, as they stand in the files. Raises ServingError: INVALID_ARGUMENT says what is wrong where."""
    try:
        if len(files) == 2:
            return _read_arrays(*files)
        return _read_csv(files[0]) if files[0].endswith(".csv") else _read_json(files[0])
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{error.filename or files[0]}; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _wrong(files[0], f"is not UTF-8: {error}") from error


def _read_csv(path: str) -> tuple[list[Any], list[Any]]:
    csv.field_size_limit(_LONGEST_CELL)
    keys, values = [], []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if len(row) != 2:
                    raise _wrong(path, f"line {reader.line_num}: {len(row)} columns, expected a key and a value")
                keys.append(row[0])
                values.append(row[1])
        except csv.Error as error:
            raise _wrong(path, f"line {reader.line_num}: {error}") from error
    return keys, values


def _read_json(path: str) -> tuple[list[Any], list[Any]]:
    with open(path, encoding="utf-8-sig") as file:
        try:
            # As pairs: of a key that comes twice the first counts, and a dict would keep the last.
            pairs = json.load(file, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise _wrong(path, f"is no JSON: {error}") from error
    if not isinstance(pairs, list):
        raise _wrong(path, "an object, or a list of [key, value] pairs, expected")
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or isinstance(pair, _Pairs):
            raise _wrong(path, f"element {index} is no [key, value] pair")
    return [key for key, _ in pairs], [value for _, value in pairs]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object's members in their order."""


def _read_arrays(keys: str, values: str) -> tuple[Array, Array]:
    arrays = []
    for path in (keys, values):
        try:
            with open(path, "rb") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # whatever a file that is none makes of numpy's reader
            raise _wrong(path, f"is no array: {error}") from error
        if not array.ndim:
            raise _wrong(path, "is no array with a first dimension")
        arrays.append(array)
    if len(arrays[0]) != len(arrays[1]):
        text = f"{len(arrays[1])} values for {len(arrays[0])} keys in {os.path.basename(keys)}"
        raise _wrong(values, text)
    return arrays[0], arrays[1]


def _wrong(path: str, text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"{path}: {text}")
