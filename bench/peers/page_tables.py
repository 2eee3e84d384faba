"""The tables of the page, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.peers.findings import Finding, Findings
from bench.peers.interruption import Interruption
from bench.peers.level import Level, alone, best_within
from bench.report import number

_FIGURES = (
    "server",
    "form",
    "requests/s",
    "clients",
    "p99, ms",
    "alone: p50, ms",
    "p99, ms",
    "memory, MB",
    "processes",
    "start, s",
)


def figures_table(found: Sequence[Finding], limit: float) -> str:
    """The quickest first. `limit`: ms, of the 99th percentile."""
    rows = sorted(found, key=lambda finding: -_rate(finding, limit))
    return table(_FIGURES, [_figures(finding, limit) for finding in rows], words=2)


def levels_table(found: Sequence[Finding]) -> str:
    """All levels, whether within the limit or not: requests/s and p99 of each."""
    clients = sorted({level.clients for finding in found for level in finding.levels})
    headings = ["server", *(f"{count} client{'s' * (count != 1)}" for count in clients)]
    rows = []
    for finding in found:
        cells = {level.clients: _level(level) for level in finding.levels}
        rows.append([finding.row, *(cells.get(count, "") for count in clients)])
    return table(headings, rows)


def switch_table(findings: Findings) -> str:
    headings = ("server", "how", "p99 before, ms", "p99 meanwhile, ms", "failed", "of", "took, s")
    rows = [
        [
            peer,
            findings.peers[peer]["switch"],
            _ms(each.p99_before),
            _ms(each.p99_during),
            *_counts(each),
            _seconds(each.seconds),
        ]
        for peer, each in _interruptions(findings, "switch")
        if each is not None
    ]
    return table(headings, rows, words=2)


def kill_table(findings: Findings) -> str:
    headings = ("server", "failures", "failed", "of", "all is well again after, s")
    rows = []
    for peer, each in _interruptions(findings, "kill"):
        if each is None:
            rows.append([peer, "no process but the first one runs the model", "", "", ""])
        else:
            kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(each.kinds.items()))
            rows.append([peer, kinds, *_counts(each), "not within the run" if each.back is None else _seconds(each.back)])
    return table(headings, rows, words=2)


def settings_list(peers: Mapping[str, Mapping[str, Any]]) -> str:
    """What each is set to, and where it says so."""
    lines = []
    for name, peer in peers.items():
        said = [_setting(setting) for setting in peer["settings"]]
        lines.append(f"- **{name} {peer['version']}**" + (f": {'; '.join(said)}." if said else "."))
    return "\n".join(lines)


def reasons_list(reasons: Mapping[str, str]) -> str:
    return "\n".join(f"- {what}: {' '.join(why.split())[:300]}" for what, why in reasons.items())


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """`words`: how many columns are texts; the others are numbers, to the right."""
    rule = ["---"] * words + ["---:"] * (len(headings) - words)
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in (headings, rule, *rows))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _figures(finding: Finding, limit: float) -> list[str]:
    best, single = best_within(finding.levels, limit), alone(finding.levels)
    within = [number(best.rate), str(best.clients), _ms(best.p99)] if best else ["never within the limit", "", ""]
    one = [_ms(single.p50), _ms(single.p99)] if single else ["", ""]
    errors = sum(level.errors for level in finding.levels)
    memory = [number(finding.megabytes), str(finding.processes)]
    return [f"{finding.row}{_failed(errors)}", finding.form, *within, *one, *memory, f"{finding.start:.1f}"]


def _level(level: Level) -> str:
    return f"{number(level.rate)} ({_ms(level.p99)}){_failed(level.errors)}"


def _rate(finding: Finding, limit: float) -> float:
    best = best_within(finding.levels, limit)
    return best.rate if best else 0.0


def _failed(errors: int) -> str:
    return f", {errors} failed" if errors else ""


def _interruptions(findings: Findings, what: str) -> list[tuple[str, Interruption | None]]:
    return [(peer, of_peer[what]) for peer, of_peer in findings.interruptions.items() if what in of_peer]


def _counts(each: Interruption) -> tuple[str, str]:
    return f"{each.failed:,}{' (' + each.words + ')' if each.words else ''}", f"{each.requests + each.failed:,}"


def _setting(setting: Mapping[str, str]) -> str:
    return f"{setting['what']} ([{setting['page']}]({setting['url']}))" if setting["page"] else setting["what"]


def _ms(value: float) -> str:
    return number(value) if math.isfinite(value) else "none answered"


def _seconds(value: float | None) -> str:
    return "not over within the run" if value is None else f"{value:.1f}"
