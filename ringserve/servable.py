"""Servables and their versions: names and states that every process shares."""

from __future__ import annotations

import enum
from typing import NamedTuple


class ServableId(NamedTuple):
    """One version of a servable; ordered by name, then version."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


class State(enum.IntEnum):
    """States of a version as the status API shows them; numbers as on TensorFlow Serving's wire."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50
