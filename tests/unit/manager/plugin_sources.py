"""Sources as users write them: one that does as it is told, and some that misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.source import AspiredVersions, ServableData


class Recorded:
    """Notes what it is made with; emits when a test says so. Options: what to fail at."""

    made: ClassVar[list[Recorded]] = []

    def __init__(self, name: str, base_path: str, options: Mapping[str, str]) -> None:
        if options.get("fails") == "made":
            raise ServingError(Code.UNAVAILABLE, "no database there")
        self.name = name
        self.arguments = (name, base_path, options)
        self.options = options
        self.closed = 0
        self.callback: AspiredVersions[str]
        Recorded.made.append(self)

    def set_aspired_versions_callback(self, callback: AspiredVersions[str]) -> None:
        self.callback = callback
        if self.options.get("fails") == "connected":
            raise OSError("the database is gone")

    def emit(self, *versions: int, name: str = "") -> None:
        name = name or self.name
        self.callback(name, [ServableData(ServableId(name, version), f"/{name}/{version}") for version in versions])

    def close(self) -> None:
        self.closed += 1
        if self.options.get("fails") == "closed":
            raise OSError("the database is gone")
