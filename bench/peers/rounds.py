"""Rounds of the same server with the same model, as one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.peers.findings import Finding
from bench.peers.level import Level


def by_row(found: Iterable[Finding], model: str) -> list[Finding]:
    """Those of a model, the rounds of each row put together, in the order in which they came."""
    rows: dict[str, list[Finding]] = {}
    for finding in found:
        if finding.model == model:
            rows.setdefault(finding.row, []).append(finding)
    return [together(rounds) for rounds in rows.values()]


def together(rounds: Sequence[Finding]) -> Finding:
    """Medians of figures, sums of requests and errors; the quickest start: the first one reads files from the disk."""
    levels: dict[int, list[Level]] = {}
    for finding in rounds:
        for level in finding.levels:
            levels.setdefault(level.clients, []).append(level)
    return replace(
        rounds[0],
        start=min(finding.start for finding in rounds),
        megabytes=statistics.median(finding.megabytes for finding in rounds),
        levels=[_level(of_clients) for of_clients in levels.values()],
    )


def _level(levels: Sequence[Level]) -> Level:
    medians = {
        name: statistics.median(getattr(level, name) for level in levels) for name in ("rate", "p50", "p99", "generator")
    }
    sums = {name: sum(getattr(level, name) for level in levels) for name in ("errors", "requests")}
    return Level(levels[0].clients, **medians, **sums)
