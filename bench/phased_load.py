"""A load that goes on while things happen beside it, and its figures for each phase of what happens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from bench.http_generator import line_of, together
from bench.load import PATIENCE, Load, Target

_BUSY: Final = " busy"


@dataclass(frozen=True, slots=True)
class PhaseLoads:
    """Loads by phase: in the whole of it, and in its busy times alone where these were told apart."""

    whole: dict[str, Load] = field(default_factory=dict)
    busy: dict[str, Load] = field(default_factory=dict)


class PhasedLoad:
    """The generator with a steady rate, in a process of its own; starts with the `with` block and is gone after it.

    Within a phase, the times in which something happens can be marked as busy.
    """

    def __init__(self, target: Target, connections: int, rate: float = 0.0) -> None:
        """`rate`: requests per second; 0: as many as are answered."""
        arguments = ["--target", json.dumps(asdict(target)), "--connections", str(connections), "--rate", str(rate)]
        self._command = [sys.executable, "-m", "bench.phased_generator", *arguments]
        self._now = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            line_of(self._process)  # it is connected
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._kill()

    def _kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def phase(self, name: str, busy: bool = False) -> None:
        """What is answered from now on counts there. Raises RuntimeError when the generator has ended."""
        words = name + _BUSY * busy
        if words == self._now:
            return
        self._now = words
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(words + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise RuntimeError("the load generator has lost all its connections") from error

    def end(self) -> PhaseLoads:
        """Send nothing more: the figures of every phase. Once only."""
        output, _ = self._process.communicate(timeout=2 * PATIENCE)
        if self._process.returncode:
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        return by_phase(json.loads(output))


def by_phase(tallies: Mapping[str, Mapping[str, Any]]) -> PhaseLoads:
    """From what the generator counted in each phase and, apart from that, in its busy times."""
    loads = PhaseLoads()
    for name in dict.fromkeys(part.removesuffix(_BUSY) for part in tallies):
        parts = [tallies[part] for part in (name, name + _BUSY) if part in tallies]
        loads.whole[name] = together(parts, sum(part["seconds"] for part in parts))
        if name + _BUSY in tallies:
            loads.busy[name] = together(parts[-1:], parts[-1]["seconds"])
    return loads
