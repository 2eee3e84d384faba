"""All that a run of the comparison finds, in a file that grows with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.harness.whole_file import write_whole
from bench.peers.interruption import Interruption
from bench.peers.level import Level


@dataclass(slots=True)
class Finding:
    """One server with one model, started once, asked in one way. `start`: s; `megabytes`: of all its processes."""

    peer: str
    row: str
    model: str
    form: str
    beside: bool
    start: float
    megabytes: float = 0.0  # 0: it was not looked at
    processes: int = 0
    levels: list[Level] = field(default_factory=list)

    def to_wire(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "levels"}
        return {**fields, "levels": [level.to_wire() for level in self.levels]}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        return cls(**{**wire, "levels": [Level.from_wire(level) for level in wire["levels"]]})


@dataclass(slots=True)
class Findings:
    """`about`: date, machine, versions and settings of the run; `peers`, `models`: what they are, by name, JSON-able.

    `interruptions`: by peer, then "switch" or "kill"; None: it has no process that could be killed.
    """

    about: dict[str, Any]
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    peers: dict[str, dict[str, Any]] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)
    interruptions: dict[str, dict[str, Interruption | None]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # peers that can't be had here, and why
    failures: dict[str, str] = field(default_factory=dict)  # what could not be measured, and why
    complete: bool = False

    def to_wire(self) -> dict[str, Any]:
        interruptions = {
            peer: {what: None if each is None else each.to_wire() for what, each in of_peer.items()}
            for peer, of_peer in self.interruptions.items()
        }
        plain = {name: getattr(self, name) for name in ("about", "models", "peers", "skipped", "failures", "complete")}
        return {**plain, "interruptions": interruptions, "found": [each.to_wire() for each in self.found]}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        interruptions = {
            peer: {what: None if each is None else Interruption.from_wire(each) for what, each in of_peer.items()}
            for peer, of_peer in wire["interruptions"].items()
        }
        found = [Finding.from_wire(each) for each in wire["found"]]
        return cls(**{**wire, "interruptions": interruptions, "found": found})

    def write(self, path: Path) -> None:
        """Raises OSError."""
        write_whole(path, json.dumps(self.to_wire(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, and ValueError for a file of something else."""
        try:
            return cls.from_wire(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no result of the comparison: {error}") from error
