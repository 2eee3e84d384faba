"""`ringserve bench self-test`: are the load generator's figures right, on this machine, now?"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import Final

from bench.harness.arguments import Parser
from bench.harness.errors import HarnessError
from bench.harness.self_checks import CHECKS
from ringserve.exit_codes import EXIT_FAILED

_VERDICTS: Final = {True: "proven", False: "NOT PROVEN", None: "skipped"}
_FEWEST_SECONDS: Final = 2.0  # a stall of one has to have some time before and behind it


def main(argv: Sequence[str]) -> int:
    """Exit status 0: all is proven that can be tried here; 1: something is not."""
    parser = Parser(
        "ringserve bench self-test",
        "Proves the load generator's figures against servers whose delays, faults and stalls are known, and against wrk "
        "where it is installed. A machine that is busy with other things can spoil it.",
    )
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of each load (default: 4)")
    arguments = parser.parse_args(argv)
    if not _FEWEST_SECONDS <= arguments.seconds < math.inf:
        parser.error(f"--seconds of at least {_FEWEST_SECONDS:g}")
    load, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    proven = True
    for check in CHECKS:
        try:
            for finding in check(arguments.seconds):
                print(f"{_VERDICTS[finding.proven]:<10}  {finding.what}: {finding.words}", flush=True)
                proven = proven and finding.proven is not False
        except (HarnessError, RuntimeError) as error:
            print(f"{check.__name__}: {error}", file=sys.stderr)
            proven = False
    if not proven and load > processors / 2:
        print(f"the machine had other things to do: a load of {load:.1f} on {processors} processors", file=sys.stderr)
    return 0 if proven else EXIT_FAILED
