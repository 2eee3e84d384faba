"""The model config file: read, and read again when it has changed."""

from __future__ import annotations

from typing import Any

from manager.config_messages import ModelServerConfig
from ringserve import text_proto


def parse_config(path: str, data: bytes) -> Any:
    """The ModelServerConfig in the text of a file. Raises ServingError (INVALID_ARGUMENT) with line and column."""
    return text_proto.parse(path, data, ModelServerConfig())


class ConfigFile:
    """Knows which of its contents were applied last, and so whether there is something new in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._applied: bytes | None = None

    def read(self) -> bytes:
        """What it holds. Raises ServingError: NOT_FOUND, and INVALID_ARGUMENT for a pipe, say, which might never end."""
        return text_proto.read(self.path)

    def parse(self, data: bytes) -> Any:
        """The ModelServerConfig message. Raises ServingError (INVALID_ARGUMENT)."""
        return parse_config(self.path, data)

    def is_new(self, data: bytes) -> bool:
        return data != self._applied

    def applied(self, data: bytes) -> None:
        """This is in force now."""
        self._applied = data
