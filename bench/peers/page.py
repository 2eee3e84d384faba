"""docs/benchmarks.md and its plots: written from the results of a run, which are kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.harness.whole_file import write_whole
from bench.peers import in_process
from bench.peers.findings import Finding, Findings
from bench.peers.measures import KILL_CLIENTS, SWITCH_RATE
from bench.peers.page_plots import throughput_plot
from bench.peers.page_tables import figures_table, kill_table, levels_table, reasons_list, settings_list, switch_table
from bench.peers.rounds import by_row

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"

_QUIET: Final = 0.5  # load average
_LONG_ENOUGH: Final = 2.0  # s, of a run
_FEW: Final = 50  # answers

_HEAD: Final = """\
# Benchmarks

ringserve beside what else serves TensorFlow models from Python, in one run, on one machine: `make bench-peers`. This page
is written from the figures of such a run, [benchmarks.json](benchmarks.json); nobody edits its tables.
{remarks}"""

_HOW: Final = """\
## How it is measured

- All servers load the same SavedModel files, with the same build of TensorFlow ({tensorflow}), and are set up as their own
  documentation advises for a machine of two cores; [what that is](#settings). Each has an environment of its own under
  `build/bench-peers`. Only TensorFlow, with what it needs, is there once for all, and each environment's path ends with it:
  2 GB once, and no difference when it runs.
- Servers take turns: for each model one after the other is started, asked, and stopped. Nothing else of the comparison
  runs meanwhile; the load generator shares the machine's processors with the server.
- Each request has one row, over HTTP/1.1, on connections that are kept. It is JSON where the server's own documentation
  does not advise another form; the tables say which. Before the load each server's answers are compared with TensorFlow's,
  under load each answer with that of before, both to 1e-4. Where ringserve is asked in other ways, only the second is done.
- *requests/s*: the most that came with a 99th percentile within the model's limit and without a failure, of a few counts of
  clients that each wait for their answer before they ask again. *alone*: with one client.
- *memory*: the proportional set sizes of all processes together, after the load. *start*: from exec to the first right
  answer.
- *{process}*: TensorFlow's Python API in a process of its own, without a server: as many rows at once as there are
  clients, and they need not come from anywhere.
- Runs last {seconds:g} s, those of large models six times as long{rounds}.
- Versions: while {rate:g} requests come each second, a new version is put in place in the way the server has for it; where
  it has none, it is stopped and started. *meanwhile* is from the beginning to half a second after the end.
- Killed: while {clients} clients ask, the process that runs the model (the one that has worked most) gets a SIGKILL. Not
  killed is what is the server's first process.

`make bench-peers ARGS=--help` tells how to choose servers and models, and how this page is written anew. It takes the
package registry, some 4 GB of disk, and 20 to 25 minutes after the environments have been made.
"""


def write_page(findings: Findings, path: Path = PAGE) -> None:
    """The page, its plots and its figures, beside each other. Raises OSError."""
    for model in findings.models:
        found = _found(findings, model)
        if found:
            write_whole(path.with_name(_plot(model)), throughput_plot(found, f"{model}: throughput and 99th percentile"))
    findings.write(path.with_suffix(".json"))
    write_whole(path, page(findings))


def page(findings: Findings) -> str:
    """Its text."""
    sections = [_HEAD.format(remarks=_remarks(findings)), _machine(findings.about)]
    sections += [_model(findings, model) for model in findings.models]
    sections += [_interruptions(findings), _how(findings), f"## Settings\n\n{settings_list(findings.peers)}\n"]
    reasons = {**findings.skipped, **findings.failures}
    if reasons:
        sections.append(f"## Not measured\n\n{reasons_list(reasons)}\n")
    return "\n".join(section for section in sections if section)


def _remarks(findings: Findings) -> str:
    """What a reader has to know before the figures."""
    about = findings.about
    remarks = []
    if not findings.complete:
        remarks.append("The run was cut short: what is missing has not been measured.")
    if about["machine"]["load_before"][0] > _QUIET:
        remarks.append("The machine was not quiet: take the figures as a first look.")
    if about["settings"]["seconds"] < _LONG_ENOUGH:
        remarks.append("Runs were short: take the figures as a first look.")
    coarse = dict.fromkeys(each.model for each in findings.found if any(0 < level.requests < _FEW for level in each.levels))
    if coarse:
        remarks.append(
            f"Some rates of {' and '.join(coarse)} come of fewer than {_FEW} answers: a batch that falls in or out of the "
            "run changes them by a quarter and more, and the order of servers close to each other says nothing."
        )
    return "".join(f"\n**{remark}**\n" for remark in remarks)


def _machine(about: Mapping[str, Any]) -> str:
    machine, versions, source = about["machine"], about["versions"], about["source"]
    commit = (source["commit"] or "unknown")[:12] + (" with changes" if source["dirty"] else "")
    load = ", ".join(f"{value:g}" for value in machine["load_before"])
    lines = (
        ("date", about["date"]),
        (
            "machine",
            f"{machine['cpu']}, {machine['cpus_usable']} processors, {machine['memory_gb']:g} GB, {machine['kernel']}",
        ),
        ("load average before", load),
        ("versions", f"Python {versions['python']}, TensorFlow {versions['tensorflow']}, ringserve {commit}"),
    )
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines), ""])


def _model(findings: Findings, model: str) -> str:
    facts = findings.models[model]
    servers = [each for each in _found(findings, model) if not each.beside]
    beside = [each for each in _found(findings, model) if each.beside]
    if not servers and not beside:
        return ""
    parts = [
        f"## {model}",
        f"{facts['what']}; a 99th percentile of {facts['limit']:g} ms at most.",
        figures_table(servers, facts["limit"]),
        *([f"The same ringserve, asked in other ways:\n\n{figures_table(beside, facts['limit'])}"] if beside else []),
        f"![throughput and 99th percentile]({_plot(model)})",
        f"Requests/s (p99, ms) by clients, within the limit or not:\n\n{levels_table([*servers, *beside])}",
    ]
    return "\n\n".join(parts) + "\n"


def _interruptions(findings: Findings) -> str:
    if not findings.interruptions:
        return ""
    model = next(iter(findings.models))
    switched = f"## A version is switched\n\n{SWITCH_RATE:g} requests/s to {model}.\n\n{switch_table(findings)}\n"
    killed = f"## A process is killed\n\n{KILL_CLIENTS} clients, {model}.\n\n{kill_table(findings)}\n"
    return f"{switched}\n{killed}"


def _how(findings: Findings) -> str:
    settings = findings.about["settings"]
    rounds = f", and figures are medians of {settings['repeat']} rounds" if settings["repeat"] > 1 else ""
    return _HOW.format(
        tensorflow=findings.about["versions"]["tensorflow"],
        process=in_process.NAME,
        seconds=settings["seconds"],
        rounds=rounds,
        rate=SWITCH_RATE,
        clients=KILL_CLIENTS,
    )


def _found(findings: Findings, model: str) -> list[Finding]:
    return by_row(findings.found, model)


def _plot(model: str) -> str:
    return f"benchmarks-{model}.svg"
