"""Command line of the comparison: `python -m bench.peers`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from bench import machine
from bench.peers import in_process
from bench.peers.comparison import Comparison
from bench.peers.findings import Findings
from bench.peers.page import PAGE, write_page
from bench.peers.peer_model import MODELS
from bench.peers.peers import PEERS

_RESULTS: Final = Path(__file__).resolve().parents[1] / "results"
_INTERRUPTED: Final = 130  # as a shell says it of Ctrl-C
_PEERS: Final = (*(peer.name for peer in PEERS), in_process.NAME)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: all was measured that can be here, whatever the figures; 1: something failed; 130: interrupted."""
    arguments = _parser().parse_args(argv)
    if arguments.page_from:
        write_page(Findings.read(arguments.page_from))
        return 0
    date = datetime.now(UTC)
    output: Path = arguments.output or _RESULTS / f"peers-{date:%Y-%m-%dT%H%M%SZ}.json"
    peers, models = arguments.peers or _PEERS, arguments.models or [model.name for model in MODELS]
    comparison = Comparison(
        peers=[peer for peer in PEERS if peer.name in peers],
        models=[model for model in MODELS if model.name in models],
        seconds=arguments.seconds,
        repeat=arguments.repeat,
        with_process=in_process.NAME in peers,
        interrupt=not arguments.no_interruptions,
        output=output,
        say=_say,
    )
    findings = Findings(
        {
            "date": date.isoformat(timespec="seconds"),
            "source": machine.source(),
            "machine": machine.machine(),
            "versions": machine.versions(),
            "settings": {"seconds": comparison.seconds, "repeat": comparison.repeat},
        }
    )
    signal.signal(signal.SIGTERM, _interrupt)
    status = _INTERRUPTED
    try:
        comparison.run(findings)
        status = 1 if findings.failures else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    findings.about["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
    findings.write(output)
    if arguments.page:
        write_page(findings)
    print(f"all figures: {output}" + (f"; tables and plots: {PAGE}" if arguments.page else ""))
    return status


def _say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    names = [model.name for model in MODELS]
    parser = argparse.ArgumentParser("python -m bench.peers", description="ringserve beside what else serves these models.")
    parser.add_argument("--peers", nargs="+", choices=_PEERS, metavar="NAME", help=f"of {', '.join(_PEERS)} [all]")
    parser.add_argument("--models", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)} [all]")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each run under load; large models' are three times as long [2]"
    )
    parser.add_argument("--repeat", type=int, default=1, help="rounds of all peers with each model [1]")
    parser.add_argument("--no_interruptions", action="store_true", help="switch no versions, kill no processes")
    parser.add_argument("--output", type=Path, metavar="FILE", help="[bench/results/peers-<date>.json]")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} and its plots from what was found")
    parser.add_argument("--page_from", type=Path, metavar="FILE", help="measure nothing: write the page from these results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
