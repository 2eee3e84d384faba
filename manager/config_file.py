"""The model config file: read, and read again when it has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manager.config_messages import ModelServerConfig
from ringserve.errors import Code, ServingError


def parse_config(path: str, data: bytes) -> Any:
    """The ModelServerConfig in the text of a file. Raises ServingError (INVALID_ARGUMENT) with line and column."""
    from google.protobuf import text_format  # noqa: PLC0415 - only with a config file

    if not data:
        raise ServingError(Code.INVALID_ARGUMENT, f"{path}; Invalid argument")  # upstream maps the file, which can't be
    config = ModelServerConfig()
    try:
        text_format.Parse(data, config)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        text = f"Invalid protobuf file: '{path}': Error parsing text-format tensorflow.serving.ModelServerConfig: {error}"
        raise ServingError(Code.INVALID_ARGUMENT, text) from error
    return config


class ConfigFile:
    """Knows which of its contents were applied last, and so whether there is something new in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._applied: bytes | None = None

    def read(self) -> bytes:
        """What it holds. Raises ServingError: NOT_FOUND, and INVALID_ARGUMENT for a pipe, say, which might never end."""
        path = Path(self.path)
        if path.exists() and not path.is_file():
            raise ServingError(Code.INVALID_ARGUMENT, f"{self.path} is not a plain file")
        try:
            return path.read_bytes()
        except OSError as error:
            raise ServingError(Code.NOT_FOUND, f"{self.path}; {error.strerror}") from error

    def parse(self, data: bytes) -> Any:
        """The ModelServerConfig message. Raises ServingError (INVALID_ARGUMENT)."""
        return parse_config(self.path, data)

    def is_new(self, data: bytes) -> bool:
        return data != self._applied

    def applied(self, data: bytes) -> None:
        """This is in force now."""
        self._applied = data
