"""`ringserve tune MODEL`: which flags are worth having for a model on this machine."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.harness.html_report import machine_facts
from bench.harness.interruption import interruption
from bench.harness.outcome_words import BUSY
from bench.harness.payload import Synthetic
from bench.tune.axes import Room, axes, seeds
from bench.tune.coordinate_search import coordinate_search
from bench.tune.front import Point
from bench.tune.setting import Setting
from bench.tune.trial import Load, Trials
from bench.tune.tune_arguments import tune_parser
from bench.tune.tune_table import json_of, numbered, parameters_path, text_of
from bench.tune.tuning import Found, TrialError, Tuning
from ringserve.devices import detect_gpus
from ringserve.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED
from ringserve.flags import UsageError, parse

_NAME: Final = "ringserve tune"
#: The server's flags that are this command's to set.
_OWN: Final = ("port", "rest_api_port", "zmq_port", "model_name", "model_base_path", "model_config_file")


def main(argv: Sequence[str]) -> int:
    """Exit status 0: a setting keeps the limit; 1: none does, or the server does not start; 2: usage; 130: interrupted."""
    words = list(argv)
    own, given = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = tune_parser()
    try:
        arguments = parser.parse_args(own)
        names = _given_names(parser, given)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        return int(stop.code or 0)
    about = {"model": str(arguments.model), "command": [*_NAME.split(), *words], **machine_facts()}
    with tempfile.TemporaryDirectory(prefix="ringserve-tune-") as scratch:
        trials = _trials(arguments, Path(scratch), given)
        try:
            with interruption():
                found = _found(arguments, trials, names)
        except TrialError as error:
            print(f"{_NAME}: {error}", file=sys.stderr)
            return EXIT_FAILED
    if arguments.json:
        print(json.dumps(json_of(found, arguments.protocol, arguments.save, about), indent=2, allow_nan=False))
    else:
        print(text_of(found, arguments.protocol, arguments.save))
    try:
        _save(found, arguments.save)
    except OSError as error:  # looked at before, but that was long ago
        print(f"{_NAME}: cannot write to {arguments.save}: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    if trials.busiest > BUSY:
        _say(f"A load generator was busy for {trials.busiest:.0%} of the time: figures may be its limits, not the server's.")
    return EXIT_INTERRUPTED if found.interrupted else 0 if found.front else EXIT_FAILED


def _found(arguments: argparse.Namespace, trials: Trials, names: Sequence[str]) -> Found:
    most = max(arguments.clients) * arguments.rows
    room = Room(len(os.sched_getaffinity(0)), len(detect_gpus()), arguments.rows, most)
    known = axes(room, arguments.protocol, names)
    limit = arguments.p99_below or math.inf

    def told(setting: Setting, points: Sequence[Point]) -> None:
        parameters = setting.parameters.replace(" { value: ", " ").replace(" }\n", ", ").removesuffix(", ")
        words = " ".join(setting.flags(arguments.protocol, f"({parameters})")) or "the defaults"
        best = max(points, key=lambda point: point.rate if point.p99 <= limit and not point.failed else 0.0)
        _say(f"{words}: {best.rate:,.0f}/s, p99 {best.p99:.3g} ms, {best.memory:,.0f} MB with {best.clients} clients")

    tuning = Tuning(trials.measure, told, arguments.budget, time.monotonic, _say)
    return tuning.run(coordinate_search(seeds(known, room), known), limit)


def _trials(arguments: argparse.Namespace, folder: Path, given: Sequence[str]) -> Trials:
    payload = arguments.payload or Synthetic(rows=arguments.rows, shapes=dict(arguments.shape))
    load = Load(
        sorted(set(arguments.clients)), arguments.seconds, arguments.seconds / 4, payload, arguments.p99_below or math.inf
    )
    return Trials(arguments.model.resolve(), arguments.protocol, load, folder, given)


def _save(found: Found, folder: Path | None) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for setting, number in numbered(found).items():
        if setting.parameters:
            parameters_path(folder, number).write_text(setting.parameters, encoding="utf-8")


def _given_names(parser: argparse.ArgumentParser, given: Sequence[str]) -> list[str]:
    """The names of the server's flags after `--`, none of which may be one that this command sets."""
    try:
        names = sorted(parse(given, {}).given)
    except UsageError as error:
        parser.error(f"after --: {error}")
    if own := [name for name in names if name in _OWN]:
        parser.error(f"--{own[0]} is set by this command")
    return names


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
