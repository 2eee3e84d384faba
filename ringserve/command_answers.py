"""Answers as the client commands show and save them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from ringserve.client.answers import VersionState
from ringserve.errors import Code
from ringserve.flags import UsageError

Array = npt.NDArray[Any]

#: The files that `save` makes.
SAVED: Final = (".npy", ".npz")

_BYTES: Final = "_bytes"  # at the end of an output's name: its strings are no texts
_HEADER: Final = ("VERSION", "STATE", "ERROR")


def answer_document(outputs: Mapping[str, Array], in_rows: bool) -> Any:
    """As the REST API answers: with a prediction for each instance, or with columns."""
    columns = {alias: _plain(alias, array) for alias, array in outputs.items()}
    if not in_rows:
        return {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns.values()}
    if len(lengths) != 1 or -1 in lengths:  # not a row for each instance
        return {"outputs": columns}
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


def save(path: str, outputs: Mapping[str, Array]) -> None:
    """As .npy, which holds one array, or .npz. Raises UsageError."""
    arrays = {alias: _storable(alias, array) for alias, array in outputs.items()}
    if path.endswith(".npy") and len(arrays) != 1:
        text = f"a .npy file holds one array, and there are {len(arrays)} ({', '.join(arrays)})"
        raise UsageError(f"{text}: use .npz, or --outputs")
    try:
        if path.endswith(".npy"):
            (array,) = arrays.values()
            with Path(path).open("wb") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
            return
        # Not numpy.savez, which takes some names for its own arguments.
        with ZipFile(path, "w") as archive:
            for alias, array in arrays.items():
                with archive.open(f"{alias}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def table(versions: Sequence[VersionState]) -> str:
    """Columns version, state, error; one line a version."""
    rows = [_HEADER]
    rows += [(str(entry.version), entry.state.name, " ".join(_error(entry).split())) for entry in versions]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{row[0]:>{first}}  {row[1]:{second}}  {row[2]}".rstrip() for row in rows)


def status_document(versions: Sequence[VersionState]) -> Any:
    """As the REST API answers."""
    return {
        "model_version_status": [
            {
                "version": str(entry.version),
                "state": entry.state.name,
                "status": {"error_code": entry.code.name, "error_message": entry.message},
            }
            for entry in versions
        ]
    }


def _error(entry: VersionState) -> str:
    return "" if entry.code is Code.OK else f"{entry.code.name}: {entry.message}"


def _plain(alias: str, array: Array) -> Any:
    if array.dtype.kind == "O":
        return _texts(array.tolist(), alias.endswith(_BYTES))
    if array.dtype.kind == "c":
        raise UsageError(f"output {alias!r} has complex numbers, which JSON has not: use --out")
    if array.dtype.kind not in "biu":
        numbers = array if array.dtype.itemsize == 8 else array.astype(np.float32)
        # The shortest texts that mean these numbers, and not the digits of their 64 bits.
        found = np.empty(array.size, dtype=object)
        found[:] = [float(text) for text in numbers.ravel().astype(str).tolist()]
        return found.reshape(array.shape).tolist()
    return array.tolist()


def _texts(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_texts(one, as_base64) for one in value]
    if not as_base64:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            pass  # it has no other form in JSON
    return {"b64": base64.b64encode(value).decode()}


def _storable(alias: str, array: Array) -> Array:
    """Strings as numpy's own, which are stored without running anything when they are loaded."""
    if array.dtype.kind != "O":
        if array.dtype.isbuiltin != 1:
            raise UsageError(f"output {alias!r} is {array.dtype.name}, which .npy files have not")
        return array
    if any(text.endswith(b"\0") for text in array.flat):
        raise UsageError(f"output {alias!r} has strings with zeros at their ends, which .npy files lose")
    return array.astype("S")
