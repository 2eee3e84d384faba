"""The command line of `ringserve tune`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.harness.arguments import Parser, above_zero, count, counts, file, folder, parsed, positive
from bench.harness.payload import shape_of
from bench.tune.setting import FRONTENDS


def tune_parser() -> Parser:
    parser = Parser(
        "ringserve tune",
        "Starts servers of one model with other flags each, puts each under load, and prints those that no "
        "other beats in throughput, p99 and memory together. It changes one flag at a time, from the best so far, and "
        "measures the best again at the end.",
        usage="ringserve tune MODEL [options] [-- server flags]",
        epilog="What follows -- is given to every server, and not tried. Run it on a machine that does nothing else.",
    )
    add = parser.add_argument
    add("model", type=_model, metavar="MODEL", help="the model's base path, which holds one folder for each version")
    add("--p99_below", type=positive, metavar="MS", help="the 99th percentile that settings have to keep [none]")
    add("--budget", type=above_zero, default=300.0, metavar="5m", help="how long it may take [5m]")
    add("--protocol", choices=sorted(FRONTENDS), default="http", help="[http]")
    add(
        "--clients",
        type=parsed(counts),
        default=[4, 16, 64],
        metavar="4,16,64",
        help="that wait for their answers each [4,16,64]",
    )
    add("--seconds", type=positive, default=1.5, metavar="S", help="of each load [1.5]")
    add("--rows", type=count, default=1, metavar="N", help="of a request [1]")
    text = "of an input that the signature leaves open"
    add("--shape", type=parsed(shape_of), action="append", default=[], metavar="INPUT:4,128", help=text)
    text = "requests to send: JSON bodies (.json, .jsonl), arrays (.npz), or a log (TFRecords) [made up by the signature]"
    add("--payload", type=file, metavar="FILE", help=text)
    add("--save", type=folder, metavar="DIR", help="where to write the files of batching parameters [they are printed]")
    add("--json", action="store_true", help="everything that was measured, as JSON")
    return parser


def _model(text: str) -> Path:
    path = Path(text)
    if not any(entry.name.isdecimal() for entry in (path.iterdir() if path.is_dir() else ())):
        raise argparse.ArgumentTypeError(f"{text} holds no version of a model")
    return path
