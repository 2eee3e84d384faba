"""Outcomes as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.harness.outcome import Outcome
from bench.harness.outcome_words import names_of, warnings_of
from bench.report import number

_HEADINGS: Final = ("load", "answers/s", "p50 ms", "p90", "p99", "p99.9", "max", "errors", "generator CPU")
_PERCENTS: Final = (50.0, 90.0, 99.0, 99.9, 100.0)


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """A line for each; below, what happened in its course and what its reader has to be warned of."""
    names = names_of(outcomes)
    lines = [list(_HEADINGS), *(_cells(name, outcome) for name, outcome in zip(names, outcomes, strict=True))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*text, *(line for pair in zip(names, outcomes, strict=True) for line in _notes(*pair))])


def _cells(name: str, outcome: Outcome) -> list[str]:
    answered = outcome.whole.latencies.total
    latencies = [number(outcome.percentile(percent)) if answered else "-" for percent in _PERCENTS]
    cpus = ", ".join(f"{each.cpu:.2f}" for each in outcome.generators)
    return [name, number(outcome.rate), *latencies, f"{outcome.failed:,}", cpus]


def _notes(name: str, outcome: Outcome) -> list[str]:
    kinds = ", ".join(f"{kind}: {count:,}" for kind, count in sorted(outcome.whole.errors.items()))
    events = [f"at {event.seconds:.2f} s: {event.what}" for event in outcome.events]
    return [f"{name}: {note}" for note in [*([f"errors: {kinds}"] if kinds else []), *events, *warnings_of(outcome)]]
