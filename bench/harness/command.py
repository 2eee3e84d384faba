"""`ringserve bench`: loads, what proves the load generator right, comparisons of results, and the named topologies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from ringserve.exit_codes import EXIT_INTERRUPTED, EXIT_USAGE

_HELP: Final = """\
usage: ringserve bench COMMAND ...

  load        put a server under load: closed or open loop, sweeps, the highest rate below a latency
  self-test   prove the load generator's figures, against wrk and against servers that are known
  compare     two files of results: ratios with confidence intervals; fails on a regression
  topologies  the named topologies of this project, each beside its floor

  --help      this text; after a command, that command's"""


def main(argv: Sequence[str]) -> int:
    """Returns the exit status."""
    command, words = (argv[0], argv[1:]) if argv else ("", ())
    if command in ("-h", "--help"):
        print(_HELP)
        return 0
    if command not in _COMMANDS:
        text = f"unknown command {command}" if command else "a command is missing"
        print(f"ringserve bench: {text} ({', '.join(_COMMANDS)})\nTry 'ringserve bench --help'.", file=sys.stderr)
        return EXIT_USAGE
    try:
        return _COMMANDS[command](words)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return EXIT_USAGE
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _load(argv: Sequence[str]) -> int:
    from bench.harness import load_command  # noqa: PLC0415 (each command brings what it alone needs)

    return load_command.main(argv)


def _self_test(argv: Sequence[str]) -> int:
    from bench.harness import self_test  # noqa: PLC0415

    return self_test.main(argv)


def _compare(argv: Sequence[str]) -> int:
    from bench.harness import compare  # noqa: PLC0415

    return compare.main(argv)


def _topologies(argv: Sequence[str]) -> int:
    from bench import __main__ as topologies  # noqa: PLC0415

    return topologies.main(argv)


_COMMANDS: Final = {"load": _load, "self-test": _self_test, "compare": _compare, "topologies": _topologies}
