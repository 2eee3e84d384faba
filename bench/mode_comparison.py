"""A model under the same load in several modes of batching: one server for each, asked in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from bench.asked_rows import AskedRows
from bench.batching_servers import batching_servers
from bench.load import Load
from bench.row_client import RowLoad, row_clients
from bench.topology import Goal, Row, Settings

Measure = Literal["throughput", "p50", "p99"]
MEASURES: Final[tuple[Measure, ...]] = ("throughput", "p50", "p99")

#: What is served: its base path, and what it is asked.
Model = Callable[[Settings], tuple[Path, AskedRows]]
#: By the number of clients, the mode, its floor and the measure.
Rows = Mapping[tuple[int, str, str, Measure], Row]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Measures of one mode, those of another as their floor. `p50_limits`: goals for the ratio, by the number of clients."""

    mode: str
    floor: str
    measures: Sequence[Measure] = MEASURES
    p50_limits: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModeComparison:
    """`modes`: flags by name; `clients`: at a time, each number a load of its own; `share`: of the seconds that the command
    line gives a run, since there are so many.
    """

    name: str
    model: Model
    modes: Mapping[str, Sequence[str]]
    comparisons: Sequence[Comparison]
    clients: Sequence[int]
    share: float
    parameters: str = ""  # text of the file that a mode's flag may name

    def measure(self, settings: Settings, rows: list[Row]) -> None:
        """As `bench.topology.Topology` wants it. Raises RuntimeError when nothing was answered."""
        mine = self.rows()
        rows += mine.values()
        base, asked = self.model(settings)
        seconds = settings.seconds * self.share
        with (
            tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch,
            batching_servers(base, asked, self.modes, self.parameters) as endpoints,
            row_clients(asked.write(Path(scratch) / "rows.npz")) as load,
        ):
            for clients in self.clients:
                for endpoint in endpoints.values():
                    _answered(load, endpoint, clients, seconds)  # while it learns what batches cost
                for repetition in range(settings.repeat):
                    # Who comes first changes: none always finds the machine as another left it.
                    order = list(self.modes)[:: -1 if repetition % 2 else 1]
                    loads = {mode: _answered(load, endpoints[mode], clients, seconds) for mode in order}
                    add_repetition(mine, clients, loads)
                    settings.say(_line(clients, {mode: loads[mode] for mode in self.modes}))

    def rows(self) -> Rows:
        return {
            (clients, each.mode, each.floor, measure): self._row(clients, each, measure)
            for clients in self.clients
            for each in self.comparisons
            for measure in each.measures
        }

    def _row(self, clients: int, comparison: Comparison, measure: Measure) -> Row:
        name = f"c{clients} {comparison.mode} {measure}"
        if measure == "throughput":
            return Row(self.name, name, "req/s", "higher", comparison.floor)
        limit = comparison.p50_limits.get(clients) if measure == "p50" else None
        return Row(self.name, name, "ms", "lower", comparison.floor, (Goal("ratio", limit),) if limit else ())


def add_repetition(rows: Rows, clients: int, loads: Mapping[str, Load]) -> None:
    """The loads by mode of so many clients. Raises RuntimeError where a mode that others are compared with failed."""
    for (count, mode, floor, measure), row in rows.items():
        if count == clients:
            ours, other = loads[mode], loads[floor]
            if other.errors:
                raise RuntimeError(f"{other.errors} requests failed with {floor}: there is nothing to compare with")
            row.add(_figure(measure, ours), _figure(measure, other), ours.errors)


def _figure(measure: Measure, load: Load) -> float:
    return load.rate if measure == "throughput" else load.p50 if measure == "p50" else load.p99


def _answered(load: RowLoad, endpoint: str, clients: int, seconds: float) -> Load:
    found = load(endpoint, clients, seconds)
    if not found.requests:
        raise RuntimeError(f"no request was answered rightly, {found.errors} were not")
    return found


def _line(clients: int, loads: Mapping[str, Load]) -> str:
    words = [
        f"{mode} {load.rate:,.0f} req/s, p50 {load.p50:.2f} ms" + (f", {load.errors} ERRORS" if load.errors else "")
        for mode, load in loads.items()
    ]
    return f"c{clients}: {'; '.join(words)}"
