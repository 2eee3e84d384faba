"""What a topology is, and what measuring it yields: rows of figures beside the figures of their floor."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


class SkippedError(Exception):
    """What a topology needs is not to be had here; its text says what."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit for a row's best figure, or for the ratio of it to its floor's best. At least or at most: by the row."""

    of: Literal["figure", "ratio"]
    limit: float


@dataclass(slots=True)
class Row:
    """One measure of a topology, a figure for every repetition, its floor's from the same repetition beside it."""

    topology: str
    measure: str
    unit: str
    better: Literal["higher", "lower"]
    floor_name: str = ""
    goals: tuple[Goal, ...] = ()
    figures: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)
    errors: int = 0  # requests that failed or were answered wrongly: no goal is met with any
    generator: str = ""  # what sent the load, where that is not what the whole run uses

    def add(self, figure: float, floor: float | None = None, errors: int = 0) -> None:
        """A repetition's figure."""
        self.figures.append(figure)
        if floor is not None:
            self.floors.append(floor)
        self.errors += errors

    def best(self, figures: Sequence[float]) -> float:
        """Others on the machine only ever make a figure worse: the best one is the closest to the truth."""
        return (max if self.better == "higher" else min)(figures)

    def ratio(self, pick: Callable[[Sequence[float]], float]) -> float | None:
        """The picked figure (the best, the median) as a multiple of the floor's picked the same way."""
        if not self.figures or not self.floors:
            return None
        floor = pick(self.floors)
        return pick(self.figures) / floor if floor else math.nan

    @property
    def best_ratio(self) -> float | None:
        return self.ratio(self.best)

    @property
    def median_ratio(self) -> float | None:
        return self.ratio(statistics.median)

    def met(self, goal: Goal) -> bool | None:
        """None when there is nothing to judge."""
        if self.errors:
            return False
        value = self.best_ratio if goal.of == "ratio" else self.best(self.figures) if self.figures else None
        if value is None:
            return None
        return value >= goal.limit if self.better == "higher" else value <= goal.limit

    def to_json(self) -> dict[str, Any]:
        return {
            "topology": self.topology,
            "measure": self.measure,
            "unit": self.unit,
            "better": self.better,
            "figures": self.figures,
            **_summary(self, self.figures),
            "floor": {"name": self.floor_name, "figures": self.floors, **_summary(self, self.floors)},
            "ratio": {"best": self.best_ratio, "median": self.median_ratio},
            "goals": [{"of": goal.of, "limit": goal.limit, "met": self.met(goal)} for goal in self.goals],
            "errors": self.errors,
            **({"generator": self.generator} if self.generator else {}),
        }


def _summary(row: Row, figures: Sequence[float]) -> dict[str, float]:
    return {"best": row.best(figures), "median": statistics.median(figures)} if figures else {}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says, as the topologies need it."""

    model: Path  # base path of half_plus_two
    repeat: int = 5
    seconds: float = 3.0  # of one REST run
    generator: Literal["own", "wrk"] = "own"  # of REST load
    perf_analyzer: str = ""  # the generator of gRPC load: a program, "own" for the one in Python, "" to look for one
    say: Callable[[str], None] = print  # tells how far it has got


@dataclass(frozen=True, slots=True)
class Topology:
    """A named arrangement of processes that is measured.

    `measure` appends its rows to the list as soon as it begins, and figures to them as they come: when it is cut short,
    what it has found so far is there. It raises SkippedError where it can't be measured.
    """

    name: str
    what: str
    measure: Callable[[Settings, list[Row]], None]
    long: bool = False  # takes minutes, or the network: measured only when it is named, or everything is asked for
