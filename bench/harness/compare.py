"""`ringserve bench compare A B`: ratios of two files of results, and whether something has become worse."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.harness.compared_file import read_compared
from bench.harness.comparison import WORSE, Comparison, Judge, Pair, compare
from bench.harness.ratio import Ratio
from bench.harness.results import ResultsError
from bench.report import number

_REGRESSED: Final = 1
_UNUSABLE: Final = 2
_LEFT: Final = ("", "measure", "floor")  # columns of words, by their headings
_SHOUTED: Final = {"regression": "REGRESSION", "errors": "ERRORS"}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: nothing is worse beyond the limit; 1: something is; 2: the files or the arguments are unusable."""
    arguments = _parser().parse_args(argv)
    judge = Judge(arguments.limit, arguments.confidence, arguments.beside_floor)
    try:
        comparison = compare(read_compared(arguments.before), read_compared(arguments.after), judge)
    except (ResultsError, ValueError) as error:
        print(f"bench compare: {error}", file=sys.stderr)
        return _UNUSABLE
    print(text_of(comparison, judge))
    return _REGRESSED if comparison.regressed else 0


def text_of(comparison: Comparison, judge: Judge) -> str:
    """What all measures have in common, a line for each, then what can't be compared, then a summary."""
    names = [pair.before.name.split(", ") for pair in comparison.pairs]
    shared = [part for part in names[0][:-1] if all(part in name[:-1] for name in names)]
    interval = f"{100 * judge.confidence:.4g} % interval"
    headings = ["", "measure", "first", "second", "ratio", interval, "beside the floor", interval, "floor", ""]
    lines = [headings, *(_cells(pair, shared) for pair in comparison.pairs)]
    if not any(pair.beside_floor for pair in comparison.pairs):
        lines = [[*line[:6], line[9]] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [_joined(line, lines[0], widths) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join([*([", ".join(shared)] if shared else []), *text, "", *comparison.notes, _summary(comparison, judge)])


def _cells(pair: Pair, shared: Sequence[str]) -> list[str]:
    """`shared`: parts of the name that need not be repeated."""
    before, after = pair.before, pair.after
    name = ", ".join(part for part in before.name.split(", ") if part not in shared)
    errors = f" ({after.errors:,} errors, {before.errors:,} before)" if after.errors else ""
    return [
        *(name, f"{before.measure}, {before.unit}", _median(before.figures), _median(after.figures)),
        *_ratio(pair.ratio),
        *_ratio(pair.beside_floor),
        before.floor_name if pair.beside_floor else "",
        _SHOUTED.get(pair.verdict, pair.verdict) + errors,
    ]


def _median(figures: Sequence[float]) -> str:
    return number(statistics.median(figures)) if figures else "none"


def _ratio(found: Ratio | None) -> tuple[str, str]:
    """And its interval."""
    if found is None:
        return "", ""
    interval = "too few" if (found.low, found.high) == (0.0, math.inf) else f"{_times(found.low)}-{_times(found.high)}"
    return f"{_times(found.value)}x", interval


def _times(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.3g}"


def _joined(line: Sequence[str], headings: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(line, headings, widths, strict=True)
    return "  ".join(
        cell.ljust(width) if heading in _LEFT else cell.rjust(width) for cell, heading, width in columns
    ).rstrip()


def _summary(comparison: Comparison, judge: Judge) -> str:
    """Of many intervals some miss the truth: a reader has to know how many."""
    count = len(comparison.pairs)
    worse = sum(pair.verdict in WORSE for pair in comparison.pairs)
    words = [f"{count} measures, {worse} worse by more than {100 * judge.limit:.4g} %."]
    chance = count * (1 - judge.confidence) / 2
    if worse and chance >= 1:
        words.append(f"Among so many, up to {chance:.0f} can seem so by chance: repeat, or ask for more confidence.")
    return " ".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ringserve bench compare",
        description="Compares two reports of named topologies, or two files of outcomes (JSON lines), of which the windows "
        "are the samples. Exit status 1: a measure's whole interval is worse by more than the limit, or requests fail that "
        "did not before.",
        epilog="Figures are medians; ratios are of geometric means, second to first. Beside the floor: the ratio of what "
        "each is to the floor of its own run, which a machine that is slower as a whole does not change.",
    )
    parser.add_argument("before", type=Path, metavar="A", help="the file to compare with")
    parser.add_argument("after", type=Path, metavar="B", help="the file that may be worse")
    parser.add_argument("--limit", type=_share, default=0.05, metavar="5%", help="how much worse is no regression yet [5%%]")
    parser.add_argument(
        "--confidence", type=_confidence, default=0.95, metavar="95%", help="of the interval of each measure [95%%]"
    )
    parser.add_argument("--beside_floor", action="store_true", help="judge measures with a floor by the ratio of ratios")
    return parser


def _share(text: str) -> float:
    """`5%` and `5` are 0.05."""
    value = float(text.removesuffix("%")) / 100
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to below 100 percent")
    return value


def _confidence(text: str) -> float:
    value = _share(text)
    if not value:
        raise argparse.ArgumentTypeError("a confidence of 0 says nothing")
    return value


if __name__ == "__main__":
    sys.exit(main())
