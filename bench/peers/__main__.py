"""Command line of the comparison: `python -m bench.peers`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import machine
from bench.harness.arguments import count, positive, writable
from bench.harness.interruption import interruption
from bench.peers import in_process
from bench.peers.comparison import Comparison
from bench.peers.findings import Findings
from bench.peers.page import PAGE, write_page
from bench.peers.peer_model import MODELS
from bench.peers.peers import PEERS
from ringserve.exit_codes import EXIT_INTERRUPTED, EXIT_USAGE

_RESULTS: Final = Path(__file__).resolve().parents[1] / "results"
_PEERS: Final = (*(peer.name for peer in PEERS), in_process.NAME)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: all was measured that can be here, whatever the figures; 1: something failed; 130: interrupted."""
    arguments = _parser().parse_args(argv)
    if arguments.page_from:
        return _page_from(arguments.page_from)
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
    status = EXIT_INTERRUPTED
    with interruption():
        try:
            comparison.run(findings)
            status = 1 if findings.failures else 0
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        findings.about["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        findings.write(output)
        has_page = arguments.page and findings.complete  # a part of the figures does not take the place of all
        if has_page:
            write_page(findings)
    print(f"all figures: {output}" + (f"; tables and plots: {PAGE}" if has_page else ""))
    return status


def _page_from(path: Path) -> int:
    try:
        write_page(Findings.read(path))
    except (OSError, ValueError) as error:
        print(f"python -m bench.peers: no page: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def _say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    names = [model.name for model in MODELS]
    parser = argparse.ArgumentParser("python -m bench.peers", description="ringserve beside what else serves these models.")
    parser.add_argument("--peers", nargs="+", choices=_PEERS, metavar="NAME", help=f"of {', '.join(_PEERS)} [all]")
    parser.add_argument("--models", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)} [all]")
    parser.add_argument(
        "--seconds", type=positive, default=2.0, help="of each run under load; large models' are six times as long [2]"
    )
    parser.add_argument("--repeat", type=count, default=1, help="rounds of all peers with each model [1]")
    parser.add_argument("--no_interruptions", action="store_true", help="switch no versions, kill no processes")
    parser.add_argument("--output", type=writable, metavar="FILE", help="[bench/results/peers-<date>.json]")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} and its plots from what was found")
    parser.add_argument("--page_from", type=Path, metavar="FILE", help="measure nothing: write the page from these results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
