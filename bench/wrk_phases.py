"""wrk as a load that goes on while things happen beside it: one run for each phase."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from bench.load import Target
from bench.phased_load import PhaseLoads
from bench.wrk import Wrk

_LONGEST_SECONDS: Final = 600.0


class WrkPhases:
    """As PhasedLoad, at full load. Busy times are not told apart: the connections of a run live as long as the phase."""

    def __init__(self, target: Target, connections: int, right: bytes) -> None:
        """`right`: the body of every answer."""
        self._target = target
        self._connections = connections
        self._right = right
        self._now = ""
        self._run: Wrk | None = None
        self._loads = PhaseLoads()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._run is not None:
            self._run.close()

    def phase(self, name: str, busy: bool = False) -> None:
        """What is answered from now on counts there. A phase comes once. Raises RuntimeError when wrk failed."""
        if name == self._now:
            return
        self.end()
        self._now = name
        self._run = Wrk(self._target, self._connections, _LONGEST_SECONDS, self._right).__enter__()

    def end(self) -> PhaseLoads:
        """Send nothing more: the figures of every phase."""
        if self._run is not None:
            self._loads.whole[self._now] = self._run.end(early=True)
            self._run.close()
            self._run = None
        return self._loads
