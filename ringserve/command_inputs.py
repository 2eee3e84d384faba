"""What the `--input` words of a command line stand for."""

from __future__ import annotations

import base64
import binascii
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ringserve.flags import UsageError

Array = npt.NDArray[Any]

_NPY_MAGIC: Final = b"\x93NUMPY"
_NPZ_MAGIC: Final = b"PK"
_ARRAYS: Final = (".npy", ".npz")
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
_B64: Final = "b64"


class PictureFile(NamedTuple):
    """What it becomes depends on the input that it is for."""

    path: str
    content: bytes


class Inputs(NamedTuple):
    """`whole`: a request as it is; else `values` by name, "" where there is only one that has none: JSON texts, arrays, and
    picture files. `rows`: the unnamed text is a list of instances.
    """

    whole: bytes | None
    values: Mapping[str, str | Array | PictureFile]

    @property
    def is_text(self) -> bool:
        """Can it be sent as it was written?"""
        return self.whole is not None or all(isinstance(value, str) for value in self.values.values())

    @property
    def in_rows(self) -> bool:
        """A list of instances, to be answered by a list of predictions?"""
        if self.whole is not None:
            return "instances" in _document(self.whole)
        return isinstance(self.values.get(""), str)

    def request(self, signature: str | None) -> bytes:
        """The JSON text of a request that `is_text`. Raises UsageError.

        Texts are sent as they were written: for the server 1 and 1.0 are not the same.
        """
        if self.whole is not None:
            if signature is not None:
                raise UsageError("--signature goes into the request itself, as signature_name")
            return self.whole
        if "" in self.values:
            fields = [f'"instances": {self.values[""]}']
        else:
            columns = ", ".join(f"{json.dumps(name)}: {text}" for name, text in self.values.items())
            fields = [f'"inputs": {{{columns}}}']
        if signature is not None:
            fields.insert(0, f'"signature_name": {json.dumps(signature)}')
        return f"{{{', '.join(fields)}}}".encode()

    def plain(self) -> tuple[str | None, dict[str, Any]]:
        """The signature that a whole request names, and plain values, arrays and picture files by name, "" for the only one.

        Raises UsageError.
        """
        if self.whole is None:
            values = {name: json.loads(value) if isinstance(value, str) else value for name, value in self.values.items()}
            return None, _columns(values[""]) if self.in_rows else {name: _decoded(value) for name, value in values.items()}
        document = _document(self.whole)
        signature = document.get("signature_name")
        if "instances" in document:
            return signature, _columns(document["instances"])
        if "inputs" not in document:
            raise UsageError("the request has neither instances nor inputs")
        inputs = document["inputs"]
        if isinstance(inputs, dict) and not _is_b64(inputs):
            return signature, {name: _decoded(value) for name, value in inputs.items()}
        return signature, {"": _decoded(inputs)}


def read_inputs(words: Sequence[str]) -> Inputs:
    """Raises UsageError for words that make no request."""
    if len(words) == 1 and words[0].startswith("@"):
        return Inputs(_read(words[0][1:]), {})
    if len(words) == 1 and words[0] == "-":
        return _of_standard_input(sys.stdin.buffer.read())
    values: dict[str, str | Array | PictureFile] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or '"' in name:  # JSON has a = only inside strings, so after a quote
            name, text = "", word
        for alias, value in _values(name, text).items():
            if alias in values:
                raise UsageError(f"--input {alias}=... is given twice" if alias else "more than one unnamed --input")
            values[alias] = value
    if "" in values and len(values) > 1:
        raise UsageError("either every --input has a name, or there is only one")
    return _checked_rows(values)


def _checked_rows(values: Mapping[str, str | Array | PictureFile]) -> Inputs:
    unnamed = values.get("")
    if isinstance(unnamed, str) and not unnamed.lstrip().startswith("["):
        raise UsageError("an --input without a name is a JSON list of instances, such as '[1.0, 2.0]', or a file")
    return Inputs(None, values)


def _of_standard_input(data: bytes) -> Inputs:
    if data.startswith((_NPY_MAGIC, _NPZ_MAGIC)):
        return Inputs(None, _arrays("", "standard input", data))
    if data.lstrip().startswith(b"["):
        return Inputs(None, {"": _checked(data.decode(errors="replace"))})
    return Inputs(data, {})


def _values(name: str, text: str) -> Mapping[str, str | Array | PictureFile]:
    """More than one for an archive of arrays."""
    suffix = Path(text).suffix.lower() if not text.lstrip().startswith(("[", "{", '"')) else ""
    if suffix in _ARRAYS:
        return _arrays(name, text, _read(text))
    if suffix in _PICTURES:
        return {name: PictureFile(text, _read(text))}
    return {name: _checked(text)}


def _arrays(name: str, path: str, data: bytes) -> Mapping[str, Array]:
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {name: found}
        with found:
            arrays = {alias: found[alias] for alias in found.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise UsageError(f"{path} holds no arrays: {error}") from error
    if not name:
        return arrays
    if len(arrays) != 1:
        raise UsageError(f"{path} has {len(arrays)} arrays, whose names are the inputs': leave out {name}=")
    (array,) = arrays.values()
    return {name: array}


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _checked(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--input is not JSON: {text} ({error})") from error
    return text


def _document(whole: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise UsageError("the request is not a JSON object")
    return document


def _columns(rows: Any) -> dict[str, Any]:
    """Of instances: plain values, or objects with a value for each input."""
    if not isinstance(rows, list) or not rows:
        raise UsageError("instances are a list, and not an empty one")
    if not isinstance(rows[0], dict) or _is_b64(rows[0]):
        return {"": _decoded(rows)}
    names = rows[0].keys()
    if not all(isinstance(row, dict) and row.keys() == names for row in rows):
        raise UsageError("all instances name the same inputs")
    return {name: _decoded([row[name] for row in rows]) for name in names}


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_B64}


def _decoded(value: Any) -> Any:
    """With bytes for what is base64."""
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    if not _is_b64(value):
        raise UsageError(f"an object inside an input is {{{json.dumps(_B64)}: …}} or wrong")
    try:
        return base64.b64decode(value[_B64], validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise UsageError(f"what should be base64 isn't: {error}") from error
