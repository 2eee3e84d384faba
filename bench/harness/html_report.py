"""Outcomes as a page: one file that asks for nothing, so that it can be opened anywhere and sent to anybody."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.harness.html_outcome import outcome_section
from bench.harness.html_parts import facts, notes
from bench.harness.html_style import CSS
from bench.harness.html_sweep import figures_table, sweep_section
from bench.harness.markup import Markup, document, element, joined, stylesheet
from bench.harness.outcome import Outcome
from bench.harness.outcome_words import names_of, target_of, warnings_of
from bench.harness.whole_file import write_whole
from bench.report import number

_OPEN: Final = 2  # so many runs are shown opened
_ALONE: Final = "default-src 'none'; style-src 'unsafe-inline'"  # a browser asks for nothing, and runs nothing


def machine_facts() -> dict[str, Any]:
    """This machine, the versions on it and the source, as they are now: the time of a run."""
    return {"machine": machine.machine(), "versions": machine.versions(), "source": machine.source()}


def write_html(
    outcomes: Sequence[Outcome], path: Path, command: Sequence[str], about: Mapping[str, Any] | None = None
) -> None:
    """Replace the file, as a whole. `command`: its words, as typed; `about`: machine_facts() of where the load came from.

    Raises OSError.
    """
    write_whole(path, page(outcomes, command, about or {}))


def page(outcomes: Sequence[Outcome], command: Sequence[str], about: Mapping[str, Any]) -> str:
    """The page's text; nothing in it is trusted that was in the outcomes, in the command or in `about`."""
    targets = list(dict.fromkeys(target_of(each) for each in outcomes))
    title = f"Load: {', '.join(targets[:3]) + (', …' if len(targets) > 3 else '')}" if targets else "Load: no run"
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_ALONE),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        stylesheet(CSS),
    )
    top = element("header", element("h1", title), _when(outcomes))
    body = element("main", _warnings(outcomes), *_figures(outcomes), *_runs(outcomes), *_setting(outcomes, command, about))
    return document(head, joined(top, body, element("footer", element("p", "Times are of right answers only."))))


def _when(outcomes: Sequence[Outcome]) -> Markup:
    if not outcomes:
        return element("p", "Nothing was measured.", class_="dim")
    seconds = sum(each.seconds for each in outcomes)
    runs = "one run" if len(outcomes) == 1 else f"{len(outcomes)} runs"
    return element("p", f"{min(each.began for each in outcomes)}, {runs}, {number(seconds)} s in all", class_="dim")


def _warnings(outcomes: Sequence[Outcome]) -> Markup | None:
    """Of several runs; one run's are beside its plots."""
    if len(outcomes) < 2:
        return None
    pairs = zip(names_of(outcomes), outcomes, strict=True)
    return notes([f"{name}: {text}" for name, outcome in pairs for text in warnings_of(outcome)])


def _figures(outcomes: Sequence[Outcome]) -> list[Markup | None]:
    if not outcomes:
        return []
    return [element("h2", "Figures"), figures_table(outcomes), *_sweep(outcomes)]


def _sweep(outcomes: Sequence[Outcome]) -> list[Markup]:
    section = sweep_section(outcomes, "all-")
    return [element("h2", "Side by side"), section] if section else []


def _runs(outcomes: Sequence[Outcome]) -> list[Markup]:
    if len(outcomes) == 1:
        return [element("h2", "The run"), outcome_section(outcomes[0], "run-1-")]
    runs = [
        element(
            "details",
            element("summary", f"{name}: {_short(outcome)}"),
            outcome_section(outcome, f"run-{at}-"),
            class_="run",
            open=len(outcomes) <= _OPEN,
        )
        for at, (name, outcome) in enumerate(zip(names_of(outcomes), outcomes, strict=True), 1)
    ]
    return [element("h2", "Run by run"), *runs] if runs else []


def _short(outcome: Outcome) -> str:
    if not outcome.whole.requests:
        return "no right answer"
    return f"{number(outcome.rate)}/s, p50 {number(outcome.percentile(50))} ms, p99 {number(outcome.percentile(99))} ms"


def _setting(outcomes: Sequence[Outcome], command: Sequence[str], about: Mapping[str, Any]) -> list[Markup]:
    """What was asked, of whom, by what."""
    parts = [element("h2", "Setting"), element("h3", "Command"), element("pre", element("code", shlex.join(command)))]
    for heading, each in (("Requests", outcomes[0].about), ("Plan", outcomes[0].plan)) if outcomes else ():
        suffix = " of the first run" if len(outcomes) > 1 else ""
        parts += [element("h3", heading + suffix), facts(list(each.items()))]
    for heading, each in about.items():
        parts += [
            element("h3", str(heading).capitalize()),
            facts(list(each.items()) if isinstance(each, Mapping) else [("", each)]),
        ]
    return parts
