"""What a version of the platform `recorded` has run, and when it may go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from end_to_end.model_config_file import entry
from end_to_end.plugin_modules.recorded import HOLD, RUNS
from end_to_end.waiting import wait_until

PLATFORM: Final = "recorded:RecordedLoader"


class Run(NamedTuple):
    """`at`: when it began, in seconds of a clock that all processes share."""

    at: float
    rows: list[Any]


def recorded(name: str, base: Path, parameters: str = "", seconds: float = 0) -> str:
    """An entry of a model config file for a model whose version 1 is made here, with batching parameters of its own, if
    any. Each of its runs takes so many seconds.
    """
    folder = base / "1"
    folder.mkdir(parents=True)
    if parameters:
        (folder / "batching_params.pbtxt").write_text(parameters)
    return entry(name, base, f'loader_options {{ key: "seconds" value: "{seconds}" }}', platform=PLATFORM)


class RecordedRuns:
    """Of a version, from now on."""

    def __init__(self, base: Path) -> None:
        self._hold = base / "1" / HOLD
        self._file = base / "1" / RUNS
        self._before = len(self._lines())

    def _lines(self) -> list[str]:
        whole = self._file.read_text() if self._file.exists() else ""
        return whole[: whole.rfind("\n") + 1].splitlines()

    @property
    def all(self) -> list[Run]:
        """In the order in which they began."""
        return [Run(**json.loads(line)) for line in self._lines()[self._before :]]

    @property
    def rows(self) -> list[list[Any]]:
        """Of each run, in the order in which they began."""
        return [run.rows for run in self.all]

    def wait_for(self, count: int, seconds: float = 15) -> None:
        """Until so many have begun."""
        wait_until(lambda: len(self._lines()) - self._before >= count, seconds, lambda: f"{count} runs, only {self.rows}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Runs that begin meanwhile do not end before."""
        self._hold.touch()
        try:
            yield
        finally:
            self._hold.unlink()
