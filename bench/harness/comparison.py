"""Two files of results, measure by measure: ratios, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from bench.harness.compared_file import Compared, Measure
from bench.harness.ratio import Ratio, ratio

Verdict = Literal["regression", "better", "same", "unclear", "errors", "no ratio"]
_CHANGING: Final = {"load_before", "kernel"}  # facts about one and the same machine
#: Those for which a comparison fails.
WORSE: Final[tuple[Verdict, ...]] = ("regression", "errors")


@dataclass(frozen=True, slots=True)
class Judge:
    """`limit`: how much worse is still no regression (0.05: 5 %); `confidence`: of each interval (0.95: 95 %).

    `beside_floor`: measures with a floor are judged by the ratio of ratios, which a machine that has become slower as a
    whole does not change.
    """

    limit: float = 0.05
    confidence: float = 0.95
    beside_floor: bool = False

    def verdict(self, found: Ratio | None, better: str) -> Verdict:
        """A regression, or better, is what the whole interval says, and by more than the limit."""
        if found is None:
            return "no ratio"
        lower, higher = found.high < 1 - self.limit, found.low > 1 + self.limit
        if lower or higher:
            return "better" if higher == (better == "higher") else "regression"
        inside = 1 - self.limit <= found.low and found.high <= 1 + self.limit
        return "same" if inside else "unclear"


@dataclass(frozen=True, slots=True)
class Pair:
    """A measure of both files. `beside_floor`: the ratio of ratios, where both have the same floor."""

    before: Measure
    after: Measure
    ratio: Ratio | None
    beside_floor: Ratio | None
    verdict: Verdict


@dataclass(slots=True)
class Comparison:
    """Notes are sentences on what can't be compared, and on what makes the comparison doubtful."""

    pairs: list[Pair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def regressed(self) -> bool:
        return any(pair.verdict in WORSE for pair in self.pairs)


def compare(before: Compared, after: Compared, judge: Judge) -> Comparison:
    """Every measure that both have. Raises ValueError where there is none."""
    if before.kind != after.kind:
        raise ValueError(f"the first file is a file of {before.kind}, the second one of {after.kind}")
    comparison = Comparison(notes=list(_doubts(before, after)))
    for key, mine in before.measures.items():
        other = after.measures.get(key)
        if other is None:
            continue
        if why := _unlike(mine, other):
            comparison.notes.append(f"not compared: {mine.name}, {mine.measure}: {why}")
        else:
            comparison.pairs.append(_pair(mine, other, judge))
    for file, others, which in ((before, after, "first"), (after, before, "second")):
        comparison.notes += _alone(file, others, which)
    if not comparison.pairs:
        raise ValueError("; ".join(["the files have no measure in common", *comparison.notes]))
    return comparison


def _pair(before: Measure, after: Measure, judge: Judge) -> Pair:
    plain = ratio(before.figures, after.figures, judge.confidence)
    beside = None
    if before.floor_name == after.floor_name and before.beside_floor and after.beside_floor:
        beside = ratio(before.beside_floor, after.beside_floor, judge.confidence)
    verdict = judge.verdict(beside if judge.beside_floor and beside is not None else plain, before.better)
    if after.errors and not before.errors:  # what fails costs less time than what is answered
        verdict = "errors"
    return Pair(before, after, plain, beside, verdict)


def _unlike(before: Measure, after: Measure) -> str:
    for what in ("unit", "better", "generator"):
        mine, other = getattr(before, what), getattr(after, what)
        if mine != other:
            return f"{what} {mine or 'not said'} in the first file, {other or 'not said'} in the second"
    return ""


def _alone(file: Compared, others: Compared, which: str) -> Iterator[str]:
    """Measures that one file alone has, by name; why the other lacks them where it says so."""
    alone: dict[str, list[str]] = {}
    for key, measure in file.measures.items():
        if key not in others.measures:
            alone.setdefault(measure.name, []).append(measure.measure)
    for name, measures in alone.items():
        why = f" (the other: {others.missing[name]})" if name in others.missing else ""
        yield f"only in the {which} file: {name}: {', '.join(dict.fromkeys(measures))}{why}"


def _doubts(before: Compared, after: Compared) -> Iterator[str]:
    for file, which in ((before, "first"), (after, "second")):
        if not file.complete:
            yield f"the {which} file's run was interrupted"
    for what, words in (("machine", "not the same machine"), ("settings", "not the same settings")):
        mine, other = before.facts.get(what, {}), after.facts.get(what, {})
        for name in sorted(mine.keys() & other.keys() - _CHANGING):
            if mine[name] != other[name]:
                yield f"{words}: {name} {mine[name]} in the first file, {other[name]} in the second"
