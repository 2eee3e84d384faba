"""Command line of the benchmark: `python -m bench` measures every named topology beside its floor."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import (
    batching_modes,
    grpc_image,
    grpc_predict,
    grpc_stream,
    image_batches,
    json_bodies,
    load_isolation,
    local_image,
    machine,
    many_models,
    mosec_comparison,
    new_version,
    overload,
    reload_memory,
    rest,
    rest_image,
    ring,
    shm_predict,
    start,
    zmq_predict,
)
from bench.half_plus_two import half_plus_two
from bench.harness.arguments import count, positive, writable
from bench.harness.interruption import interruption
from bench.perf_analyzer_environment import VARIABLE
from bench.report import Report
from bench.topology import Settings, SkippedError, Topology
from ringserve.exit_codes import EXIT_INTERRUPTED

_MODULES: Final = (
    *(ring, rest, grpc_predict, grpc_stream, zmq_predict, shm_predict),
    *(json_bodies, rest_image, grpc_image, local_image, start),
    *(image_batches, batching_modes, overload),
    *(load_isolation, new_version, many_models, reload_memory, mosec_comparison),
)
_TOPOLOGIES: Final[dict[str, Topology]] = {topology.name: topology for module in _MODULES for topology in module.TOPOLOGIES}
_RESULTS: Final = Path(__file__).resolve().parent / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: all was measured that can be here, whatever the figures; 1: something failed; 130: interrupted."""
    arguments = _parser().parse_args(argv)
    chosen = _chosen([*arguments.names, *arguments.only], arguments.all)
    date = datetime.now(UTC)
    output: Path = arguments.output or _RESULTS / f"{date:%Y-%m-%dT%H%M%SZ}.json"
    run = {"repeat": arguments.repeat, "seconds": arguments.seconds, "generator": _generator(arguments.generator)}
    about = {
        "date": date.isoformat(timespec="seconds"),
        "source": machine.source(),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "settings": run,
    }
    report = Report(about)
    status = EXIT_INTERRUPTED
    try:
        with interruption(), tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch:
            settings = Settings(
                half_plus_two(arguments.models or Path(scratch)), **run, perf_analyzer=arguments.perf_analyzer, say=_say
            )
            for topology in chosen:
                _measure(topology, settings, report)
                report.write(output)
        report.complete = True
        status = 1 if report.failures else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    if report.rows or report.failures or report.skipped:
        report.write(output)
        print(report.table())
        print(f"\nratios: of the best figures, then of the medians; goals are judged on the best. All figures: {output}")
    return status


def _measure(topology: Topology, settings: Settings, report: Report) -> None:
    """One that fails leaves the others alone."""
    print(f"{topology.name}: {topology.what}", file=sys.stderr, flush=True)
    try:
        topology.measure(settings, report.rows)
    except SkippedError as error:
        report.skipped[topology.name] = str(error)
        _say(f"skipped: {error}")
    except Exception as error:
        report.failures[topology.name] = f"{type(error).__name__}: {error}"
        _say(f"failed: {error}")


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _generator(choice: str) -> str:
    installed = shutil.which("wrk") is not None
    if choice == "wrk" and not installed:
        sys.exit("wrk is not installed; use --generator own")
    return "wrk" if choice in ("auto", "wrk") and installed else "own"


def _chosen(names: Sequence[str], everything: bool) -> list[Topology]:
    """The topologies to measure: those named, in this order; else all, or all but the long ones."""
    if names:
        return [_TOPOLOGIES[name] for name in dict.fromkeys(names)]
    return [topology for topology in _TOPOLOGIES.values() if everything or not topology.long]


def _parser() -> argparse.ArgumentParser:
    short, long = (", ".join(name for name, each in _TOPOLOGIES.items() if each.long is kind) for kind in (False, True))
    parser = argparse.ArgumentParser(
        "python -m bench",
        description="Measures ringserve, each topology beside its floor.",
        epilog=f"Measured when none is named: {short}. "
        f"These take minutes or the network, and are measured only when named or with --all: {long}. "
        "Longer and more runs (--seconds 3 --repeat 5) are felt less by what else the machine does.",
    )
    parser.add_argument("names", nargs="*", type=_topology, metavar="NAME", help="topologies to measure; see below")
    parser.add_argument("--only", nargs="+", type=_topology, default=[], metavar="NAME", help="the same as naming them")
    parser.add_argument("--all", action="store_true", help="the long ones too")
    parser.add_argument("--repeat", type=count, default=3, help="repetitions of each [3]")
    parser.add_argument("--seconds", type=positive, default=1.0, help="of each run under load [1]")
    parser.add_argument("--generator", choices=["auto", "own", "wrk"], default="auto", help="of REST load [auto]")
    parser.add_argument(
        "--perf_analyzer",
        default="",
        metavar="FILE",
        help=f"generator of gRPC load, or own for the one in Python [${VARIABLE}, or one on the PATH, or one that is "
        "installed in build; own where that can't be]",
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="where half_plus_two is, or is written to")
    parser.add_argument("--output", type=writable, metavar="FILE", help="[bench/results/<date>.json]")
    return parser


def _topology(text: str) -> str:
    if text not in _TOPOLOGIES:
        raise argparse.ArgumentTypeError(f"no topology {text}; there are {', '.join(_TOPOLOGIES)}")
    return text


if __name__ == "__main__":
    sys.exit(main())
