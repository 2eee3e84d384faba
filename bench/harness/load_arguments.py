"""The command line of `ringserve bench load`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from bench.harness.arguments import (
    Parser,
    above_zero,
    count,
    counts,
    file,
    header,
    parsed,
    percent,
    positive,
    seconds,
    whole,
    window,
    writable,
)
from bench.harness.payload import shape_of
from bench.harness.sweep import numbers

_EXAMPLES: Final = """\
examples:
  ringserve bench load --model half_plus_two --clients 1,8,32 --duration 10s
  ringserve bench load --model half_plus_two --rate 1000 --arrivals constant --html load.html
  ringserve bench load --url grpc://localhost:8500 --model half_plus_two --p99_below 5
  ringserve bench load --model half_plus_two --clients 8 --duration 20s --kill_worker_at 5

With --clients each of them waits for its answer before it asks again (closed loop). With --rate requests come when they
are due, whatever became of those before, and their time counts from then (open loop). Answers are compared with what the
same request was answered alone, before the run. Exit status: 0; 1 when nothing was answered as it should be, or no rate
was found; 2 for a misused command line; 130 when interrupted, with the results that there are written."""


#: requests/s; the first try of a search without a --rate.
FIRST_RATE: Final = 100.0
#: Requests of a run, of which one in a hundred can be told.
FEWEST: Final = 100


def load_parser() -> Parser:
    parser = Parser(
        "ringserve bench load",
        "Puts a server under load and measures what comes of it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_target(parser.add_argument_group("whom and what to ask"))
    _add_load(parser.add_argument_group("the load"))
    _add_chaos(parser.add_argument_group("what happens meanwhile", "S: seconds since the measuring began."))
    _add_results(parser.add_argument_group("results"))
    return parser


def _add_target(group: Any) -> None:
    add = group.add_argument
    text = "http or grpc://host:port, zmq://host:port, zmq+ipc:///path, shm:///path (default: %(default)s)"
    add("--url", default="http://127.0.0.1:8501", help=text)
    add("--model", default="", metavar="NAME")
    add("--api", choices=("tfs", "v2", "raw"), default="tfs", help="TensorFlow Serving's, KServe's, or any POST to --path")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--version", type=whole, metavar="N", help="version to ask (default: the server's choice)")
    which.add_argument("--label", help="label of the version to ask")
    add("--signature", default="", metavar="NAME", help="signature to run (default: serving_default)")
    forms = ("json", "columns", "msgpack", "npy", "npz", "bytes", "protobuf", "binary")
    add("--form", choices=forms, default="json", help="of an HTTP request's body; binary: that of KServe (default: json)")
    add("--path", default="", help="of the raw API, such as /predict")
    add("--content_type", default="application/json", metavar="TYPE", help="of the raw API")
    add(
        "--header",
        type=header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="of HTTP requests to the model, besides",
    )
    text = "requests to send: JSON bodies (.json, or .jsonl with one a line), arrays (.npz), a log of requests (TFRecords)"
    add("--payload", type=file, metavar="FILE", help=f"{text} (default: made up by the signature)")
    add("--rows", type=count, default=1, metavar="N", help="of a request that is made up (default: 1)")
    text = "of an input that the signature leaves open"
    add("--shape", type=parsed(shape_of), action="append", default=[], metavar="INPUT:4,128", help=text)
    add("--below", type=count, default=100, metavar="N", help="whole numbers that are made up are below (default: 100)")
    add("--requests", type=count, default=16, metavar="N", help="different ones that are made up (default: 16)")
    add("--tolerance", type=positive, metavar="X", help="of numbers in answers, relative to the largest (default: 1e-4)")


def _add_load(group: Any) -> None:
    add = group.add_argument
    text = "closed loop: so many clients; a list (1,8,32) or range (1:8, 8:64:8) is a sweep (default: 1)"
    add("--clients", "--concurrency", "-c", type=parsed(counts), metavar="LIST", help=text)
    text = "open loop: so many requests per second; a list or range is a sweep"
    add("--rate", "-R", type=parsed(numbers), metavar="LIST", help=text)
    text = "search for the highest rate with the 99th percentile at most this, and no errors; --rate is the first try"
    add("--p99_below", type=positive, metavar="MS", help=text)
    add("--precision", type=percent, default=0.05, metavar="PERCENT", help="of that rate (default: 5%%)")
    add("--arrivals", choices=("poisson", "constant"), default="poisson", help="in an open loop (default: poisson)")
    text = "requests on their way at the same time at most, in an open loop (default: 256)"
    add("--slots", type=count, default=256, metavar="N", help=text)
    add("--duration", "-d", type=seconds, default=10.0, metavar="S", help="of each run: 10, 500ms, 2m (default: 10s)")
    add("--warmup", type=seconds, default=1.0, metavar="S", help="load before it that does not count (default: 1s)")
    text = "go on until windows in a row agree within that, and count only these; --duration is the longest (default: 10%%)"
    add("--stable", type=percent, nargs="?", const=0.1, metavar="PERCENT", help=text)
    add("--stable_windows", type=count, default=3, metavar="N", help="how many have to agree (default: 3)")
    add("--window", type=window, default=1.0, metavar="S", help="length of a window (default: 1s)")
    add("--timeout", type=above_zero, default=10.0, metavar="S", help="of a request (default: 10s)")
    add("--processes", "-t", type=count, metavar="N", help="that make the load (default: one for every four processors)")
    add("--repeat", type=count, default=1, metavar="N", help="times that all is done (default: 1)")
    add("--seed", type=whole, default=0, metavar="N", help="of arrivals and of what is made up (default: 0)")


def _add_chaos(group: Any) -> None:
    add = group.add_argument
    add("--kill_worker_at", type=seconds, metavar="S", help="SIGKILL to a worker of ringserve, or to --kill_pid")
    add("--kill_pid", type=count, metavar="PID", help="the process to kill instead")
    text = "to --switch_to (ringserve, by its admin socket), or by a copy in --switch_folder (any server that looks there)"
    add("--switch_version_at", type=seconds, metavar="S", help=text)
    text = "load this version and unload the others; with --label, point the label at it"
    add("--switch_to", type=whole, metavar="VERSION", help=text)
    text = "the model's base path: its newest version appears there with the next number, and stays"
    add("--switch_folder", type=Path, metavar="PATH", help=text)
    add("--slow_clients", type=count, metavar="N", help="beside the load, that send and read a few bytes at a time (HTTP)")
    add("--admin_socket", metavar="PATH", help="of ringserve (default: found by the port of an http URL)")


def _add_results(group: Any) -> None:
    add = group.add_argument
    add("--json_lines", type=writable, metavar="FILE", help="everything, a line of JSON for each run")
    add("--csv", type=writable, metavar="FILE", help="a line for each run")
    add("--csv_windows", type=writable, metavar="FILE", help="a line for each window of each run")
    add("--html", type=writable, metavar="FILE", help="a page with plots, in one file")
    text = "where the server's metrics are, for the sizes of its batches (default: an http URL's)"
    add("--metrics_url", metavar="URL", help=text)
    add("--quiet", "-q", action="store_true", help="no progress on standard error")


def check(parser: Parser, arguments: argparse.Namespace) -> None:
    """What no flag says by itself. Ends the program where something is wrong."""
    given = {name for name, value in vars(arguments).items() if value is not None}
    chaos = given & {"kill_worker_at", "switch_version_at", "slow_clients"}
    several = len(arguments.clients or arguments.rate or [1]) * arguments.repeat > 1 or "p99_below" in given
    wrong = {
        "--model is missing": arguments.api != "raw" and not arguments.model,
        "--api raw needs --path and --payload": arguments.api == "raw" and not (arguments.path and arguments.payload),
        "--path goes with --api raw": bool(arguments.path) and arguments.api != "raw",
        "either --clients or --rate": {"clients", "rate"} <= given,
        "--p99_below searches for a rate: not with --clients": {"clients", "p99_below"} <= given,
        "--p99_below begins at one --rate": "p99_below" in given and len(arguments.rate or [0]) > 1,
        "--p99_below takes 100 requests or more: a longer --duration, or a higher --rate": "p99_below" in given
        and (arguments.rate or [FIRST_RATE])[0] * arguments.duration < FEWEST,
        "--stable leaves out what is on its way when it ends: not with --p99_below": {"stable", "p99_below"} <= given,
        "--repeat does not go with --p99_below": "p99_below" in given and arguments.repeat > 1,
        "--duration is 0": not arguments.duration,
        "--stable needs a --duration of at least --stable_windows windows": "stable" in given
        and arguments.duration < arguments.stable_windows * arguments.window,
        "--stable leaves out what happens meanwhile: not with chaos": "stable" in given and bool(chaos),
        "what happens meanwhile has to happen before the --duration is over": any(
            at is not None and at >= arguments.duration for at in (arguments.kill_worker_at, arguments.switch_version_at)
        ),
        "--metrics_url begins with http:// or https://": "metrics_url" in given
        and not arguments.metrics_url.startswith(("http://", "https://")),
        "--kill_pid goes with --kill_worker_at": "kill_pid" in given and "kill_worker_at" not in given,
        "--switch_version_at needs either --switch_to or --switch_folder": "switch_version_at" in given
        and len(given & {"switch_to", "switch_folder"}) != 1,
        "--switch_to and --switch_folder go with --switch_version_at": "switch_version_at" not in given
        and bool(given & {"switch_to", "switch_folder"}),
        "a version is switched once: not with several runs": "switch_version_at" in given and several,
        "slow clients speak HTTP only": "slow_clients" in given and not arguments.url.startswith("http://"),
    }
    for text, is_so in wrong.items():
        if is_so:
            parser.error(text)
