"""Configuration files in protobuf's text format, read and refused as TensorFlow Serving does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ringserve.errors import Code, ServingError


def read(path: str) -> bytes:
    """What the file holds. Raises ServingError: NOT_FOUND, and INVALID_ARGUMENT for a pipe, say, which might never end."""
    file = Path(path)
    if file.exists() and not file.is_file():
        raise ServingError(Code.INVALID_ARGUMENT, f"{path} is not a plain file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error


def parse(path: str, data: bytes, message: Any) -> Any:
    """Fills the empty `message` from the text of the file at `path`, and returns it.

    Raises ServingError (INVALID_ARGUMENT) with line and column, which upstream writes to its log only.
    """
    from google.protobuf import text_format  # noqa: PLC0415 - 5 MB and 30 ms, only with a config file

    if not data:
        raise ServingError(Code.INVALID_ARGUMENT, f"{path}; Invalid argument")  # upstream maps the file, which can't be
    try:
        text_format.Parse(data, message)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        what = f"Error parsing text-format {message.DESCRIPTOR.full_name}: {error}"
        raise ServingError(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}': {what}") from error
    return message
