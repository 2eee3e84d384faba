"""`ringserve bench load`: what the command line asks for is prepared, run, shown and written."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.harness.answers import TOLERANCE
from bench.harness.batch_sizes import BatchSizes
from bench.harness.chaos import Action, Chaos
from bench.harness.coordinator import Beside, run
from bench.harness.csv_tables import write_outcomes, write_windows
from bench.harness.deeds import kill_process, kill_worker, publish_version, switch_version
from bench.harness.errors import HarnessError
from bench.harness.html_report import machine_facts, write_html
from bench.harness.interruption import interruption
from bench.harness.load_arguments import FIRST_RATE, check, load_parser
from bench.harness.outcome import Outcome
from bench.harness.outcome_table import outcome_table
from bench.harness.payload import Synthetic
from bench.harness.plan import Closed, Open, Plan, Shape
from bench.harness.preparation import Payload, prepare
from bench.harness.progress import Progress, progress_on
from bench.harness.request_set import RequestSet
from bench.harness.results import write_json_lines
from bench.harness.search import Limit, Search
from bench.harness.slow_clients import slow_clients
from bench.harness.stability import Settling
from bench.harness.sweep import Run, sweep
from bench.harness.target import PreparationError, Target
from ringserve.admin_client import AdminClient, find_server
from ringserve.client.http.address import HttpAddress
from ringserve.errors import ServingError
from ringserve.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED

_ADMIN_SECONDS: Final = 60.0
_CPUS_PER_PROCESS: Final = 4
_EXPECTED: Final = (HarnessError, PreparationError, ServingError, ValueError, OSError)


def main(argv: Sequence[str]) -> int:
    """Returns the exit status: `ringserve bench load --help` says which."""
    parser = load_parser()
    try:
        arguments = parser.parse_args(argv)
        check(parser, arguments)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        return int(stop.code or 0)
    outcomes: list[Outcome] = []
    about = machine_facts()
    with interruption():
        try:
            status = _measure(arguments, outcomes)
        except KeyboardInterrupt:
            status = EXIT_INTERRUPTED
        except _EXPECTED as error:
            print(f"{parser.prog}: {getattr(error, 'message', '') or error}", file=sys.stderr)
            status = EXIT_FAILED
        if outcomes:
            print(outcome_table(outcomes))
            for line in _unwritten(arguments, outcomes, [*parser.prog.split(), *argv], about):
                print(f"{parser.prog}: {line}", file=sys.stderr)
                status = EXIT_FAILED
    return status


def _measure(arguments: argparse.Namespace, outcomes: list[Outcome]) -> int:
    """Adds outcomes as they come."""
    requests = prepare(_target(arguments), _payload(arguments), arguments.tolerance or TOLERANCE)
    beside = _beside(arguments, requests)
    for outcome in _outcomes(arguments, lambda plan: run(requests, plan, beside)):
        outcomes.append(outcome)
    if not all(outcome.complete for outcome in outcomes):
        return EXIT_INTERRUPTED
    return 0 if any(outcome.whole.latencies.total for outcome in outcomes) else EXIT_FAILED


def _target(arguments: argparse.Namespace) -> Target:
    names = ("url", "model", "api", "version", "label", "signature", "form", "path", "content_type")
    return Target(**{name: getattr(arguments, name) for name in names}, headers=dict(arguments.header))


def _payload(arguments: argparse.Namespace) -> Payload:
    if arguments.payload is not None:
        path: Payload = arguments.payload
        return path
    return Synthetic(arguments.rows, dict(arguments.shape), arguments.below, arguments.requests, arguments.seed)


def _beside(arguments: argparse.Namespace, requests: RequestSet) -> Beside:
    """What happens beside each run. Raises ServingError where there is no admin socket, ValueError for no such folder."""
    url = arguments.metrics_url or (arguments.url if arguments.url.startswith("http://") else "")
    settling = None if arguments.stable is None else Settling(arguments.stable_windows, arguments.stable)
    progress = Progress() if arguments.quiet else progress_on(sys.stderr)
    return Beside(progress, Chaos(list(_actions(arguments, requests))), BatchSizes(url, arguments.model), settling)


def _actions(arguments: argparse.Namespace, requests: RequestSet) -> Iterator[Action]:
    if arguments.slow_clients is not None:
        yield Action(-arguments.warmup, slow_clients(requests, arguments.slow_clients))
    if arguments.kill_worker_at is not None:
        pid = arguments.kill_pid
        yield Action(arguments.kill_worker_at, kill_process(pid) if pid else kill_worker(_admin(arguments)))
    if arguments.switch_to is not None:
        deed = switch_version(_admin(arguments), arguments.model, arguments.switch_to, arguments.label or "")
        yield Action(arguments.switch_version_at, deed)
    if arguments.switch_folder is not None:
        yield Action(arguments.switch_version_at, publish_version(arguments.switch_folder))


def _admin(arguments: argparse.Namespace) -> AdminClient:
    port = HttpAddress.of(arguments.url).port if arguments.url.startswith("http://") else None
    return AdminClient(arguments.admin_socket or find_server(port), _ADMIN_SECONDS)


def _outcomes(arguments: argparse.Namespace, run_plan: Run) -> Iterator[Outcome]:
    plan = Plan(
        Closed(1),
        arguments.duration,
        arguments.warmup,
        arguments.timeout,
        arguments.processes or max(1, len(os.sched_getaffinity(0)) // _CPUS_PER_PROCESS),
        arguments.window,
        arguments.seed,
    )
    if arguments.p99_below is not None:
        return _searched(arguments, plan, run_plan)
    return sweep(plan, _shapes(arguments), arguments.repeat, run_plan)


def _shapes(arguments: argparse.Namespace) -> list[Shape]:
    if arguments.rate:
        return [Open(rate, arguments.arrivals, arguments.slots) for rate in arguments.rate]
    return [Closed(clients) for clients in arguments.clients or [1]]


def _searched(arguments: argparse.Namespace, plan: Plan, run_plan: Run) -> Iterator[Outcome]:
    """Raises HarnessError when no rate keeps the limit."""
    (rate,) = arguments.rate or [FIRST_RATE]
    plan = replace(plan, shape=Open(rate, arguments.arrivals, arguments.slots))
    search = Search(plan, Limit(arguments.p99_below), arguments.precision, run_plan, _silent if arguments.quiet else _say)
    complete = True
    for outcome in search.outcomes():
        complete = outcome.complete
        yield outcome
    if search.best is not None:
        rate = search.best.plan["shape"]["rate"]
        print(f"highest rate with p99 <= {arguments.p99_below:g} ms and no errors: {rate:g}/s; {search.beyond}")
    elif complete:
        raise HarnessError(f"no rate keeps p99 <= {arguments.p99_below:g} ms without errors; {search.beyond}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(_: str) -> None: ...


def _unwritten(
    arguments: argparse.Namespace, outcomes: Sequence[Outcome], command: Sequence[str], about: Mapping[str, Any]
) -> Iterator[str]:
    """Writes what is wanted; says which files it could not write, and why."""
    writers: tuple[tuple[Path | None, Callable[[Path], None]], ...] = (
        (arguments.json_lines, lambda path: write_json_lines(outcomes, path)),
        (arguments.csv, lambda path: write_outcomes(outcomes, path)),
        (arguments.csv_windows, lambda path: write_windows(outcomes, path)),
        (arguments.html, lambda path: write_html(outcomes, path, command, about)),
    )
    for path, write in writers:
        if path is not None:
            try:
                write(path)
            except OSError as error:
                yield f"cannot write {path}: {error.strerror or error}"
