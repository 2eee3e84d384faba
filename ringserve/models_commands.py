"""`ringserve models`: look at the models of a running server and change them, over its admin socket."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from ringserve.admin_client import AdminClient, find_server
from ringserve.errors import ServingError
from ringserve.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from ringserve.explanation_tables import explanation_text
from ringserve.models_tables import label_text, list_table, printable, shadow_text, status_text, versions_text
from ringserve.pretty_json import pretty

_DEFAULT_TIMEOUT: Final = 60.0
_LONGEST_TIMEOUT: Final = 86400.0
_VERSION: Final = re.compile(r"[+-]?[0-9]{1,19}")


def run(argv: Sequence[str]) -> int:
    """Runs `ringserve models ...`; returns the exit status."""
    try:
        arguments = _parser().parse_args(argv)
        if arguments.check:
            arguments.check(arguments)
        client = AdminClient(arguments.socket or find_server(arguments.port), arguments.timeout)
        report: _Report = arguments.command(client, arguments)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        return int(stop.code or 0)
    except ServingError as error:
        print("\n".join(map(printable, error.message.splitlines())), file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    text = pretty(report.result) if arguments.json else report.text
    # A lone surrogate has no UTF-8 form; its escape is what the answer held, and still JSON.
    print(text.encode(errors="backslashreplace").decode())
    return 0 if report.good else EXIT_FAILED


class _Report(NamedTuple):
    """What a command has to say: the server's result, the same for people, and whether all is well."""

    result: dict[str, Any]
    text: str
    good: bool = True


class _Parser(argparse.ArgumentParser):
    """Reports a misuse in two lines, as the server's flags do."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ringserve models", description="Looks at the models of a running server and changes them.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(command: Any, name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(command=command, check=None, misused=added.error)
        where = added.add_mutually_exclusive_group()
        where.add_argument("--socket", metavar="PATH", help="the server's admin socket")
        text = "the server's REST port, or the process id of one without (default: the only server that runs)"
        where.add_argument("--port", type=int, metavar="N", help=text)
        added.add_argument("--json", action="store_true", help="print the server's answer as it is")
        text = "seconds to wait for what the command leads to (default: %(default)g)"
        added.add_argument("--timeout", type=_seconds, default=_DEFAULT_TIMEOUT, metavar="S", help=text)
        return added

    add(_list, "list", "lists the models")
    status = add(_status, "status", "shows models, their versions, and the server's processes")
    status.add_argument("model", metavar="MODEL", nargs="?", help="only this one")
    explain = add(_explain, "explain", "shows whether and why a model's requests are batched, and what came of it")
    explain.add_argument("model", metavar="MODEL")

    load = add(_load, "load", "adds a model, or loads one version more of it")
    load.add_argument("model", metavar="MODEL")
    load.add_argument("--base-path", metavar="PATH", type=_path, help="folder of its version folders, for a new model")
    load.add_argument("--platform", help="of a new model (default: tensorflow)")
    load.add_argument("--version", type=_version, metavar="N", help="serve this version besides those that are served")

    unload = add(_unload, "unload", "removes a model, or one version of it")
    unload.add_argument("model", metavar="MODEL")
    unload.add_argument("--version", type=_version, metavar="N", help="only this version; the others stay")

    reload = add(_reload, "reload", "takes the model config from the server's file, or from another")
    reload.add_argument("file", metavar="FILE", nargs="?", type=_path, help="a file that the server can read")

    label = add(_set_label, "set-label", "points a label at a version, or splits it between several")
    label.add_argument("model", metavar="MODEL")
    label.add_argument("label", metavar="LABEL")
    label.add_argument("versions", metavar="VERSION[=WEIGHT]", nargs="*", type=_weighted, help="3, or 1=95 2=5")
    label.add_argument("--remove", action="store_true", help="remove the label")
    label.set_defaults(check=_check_label)

    shadow = add(_set_shadow, "set-shadow", "gives a version copies of requests, whose answers are only compared")
    shadow.add_argument("model", metavar="MODEL")
    shadow.add_argument("version", metavar="VERSION", type=_version)
    shadow.add_argument("rate", metavar="RATE", type=_rate, help="share of the requests, from 0 (none) to 1")
    return parser


def _list(client: AdminClient, _: argparse.Namespace) -> _Report:
    result = client.call("list")
    return _Report(result, list_table(result["models"]))


def _status(client: AdminClient, arguments: argparse.Namespace) -> _Report:
    result = client.call("status", model=arguments.model)
    good = all(any(entry["state"] == "AVAILABLE" for entry in model["versions"]) for model in result["models"])
    return _Report(result, status_text(result, time.time()), good)


def _explain(client: AdminClient, arguments: argparse.Namespace) -> _Report:
    result = client.call("explain", model=arguments.model)
    return _Report(result, explanation_text(result), not any(version["troubles"] for version in result["versions"]))


def _load(client: AdminClient, arguments: argparse.Namespace) -> _Report:
    result = client.call(
        "load",
        model=arguments.model,
        base_path=arguments.base_path,
        platform=arguments.platform,
        version=arguments.version,
    )
    return _Report(result, _served(arguments.model, result))


def _unload(client: AdminClient, arguments: argparse.Namespace) -> _Report:
    result = client.call("unload", model=arguments.model, version=arguments.version)
    text = f"{arguments.model}: unloaded" if arguments.version is None else _served(arguments.model, result)
    return _Report(result, text)


def _reload(client: AdminClient, arguments: argparse.Namespace) -> _Report:
    result = client.call("reload", file=arguments.file)
    outcomes = result["outcomes"]
    lines = [f"{outcome['model']}: {outcome['change']}{_reason(outcome['error'])}" for outcome in outcomes]
    good = not any(outcome["error"] for outcome in outcomes)
    return _Report(result, "\n".join(map(printable, lines)) or "no models", good)


def _check_label(arguments: argparse.Namespace) -> None:
    versions: list[tuple[int, float | None]] = arguments.versions
    if arguments.remove and versions:
        arguments.misused("--remove goes without versions")
    if not arguments.remove and not versions:
        arguments.misused("no version is given: 3, or 1=95 2=5, or --remove")
    if len(versions) > 1 and any(weight is None for _, weight in versions):
        arguments.misused("of several versions each needs a weight: 1=95 2=5")
    if len({version for version, _ in versions}) < len(versions):
        arguments.misused("a version is given twice")


def _set_label(client: AdminClient, arguments: argparse.Namespace) -> _Report:
    model, label = arguments.model, arguments.label
    if arguments.remove:
        result = client.call("remove_label", model=model, label=label)
    else:
        weights = {str(version): 1.0 if weight is None else weight for version, weight in arguments.versions}
        result = client.call("set_label", model=model, label=label, versions=weights)
    return _Report(result, printable(f"{model}: {label_text(result['model'], label)}"))


def _set_shadow(client: AdminClient, arguments: argparse.Namespace) -> _Report:
    model, version = arguments.model, arguments.version
    result = client.call("set_shadow", model=model, version=version, rate=arguments.rate)
    shadows = [shadow_text(*shadow) for shadow in result["model"]["shadows"] if shadow[0] == version]
    return _Report(result, printable(f"{model}: {shadows[0] if shadows else f'no shadow {version}'}"))


def _served(model: str, result: dict[str, Any]) -> str:
    entry = result["model"]
    return printable(f"{model}: {versions_text(entry)}; policy: {entry['policy']}")


def _reason(error: dict[str, str] | None) -> str:
    return f": {error['code']}: {error['message']}" if error else ""


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds, at most {_LONGEST_TIMEOUT:g}")
    return seconds


def _rate(text: str) -> float:
    rate = _number(text)
    if not 0 <= rate <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return rate


def _version(text: str) -> int:
    if not _VERSION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is not the number of a version")
    return int(text)


def _weighted(text: str) -> tuple[int, float | None]:
    version, equals, weight = text.partition("=")
    number = _number(weight) if equals else 0.0
    if not math.isfinite(number) or number < 0:
        raise argparse.ArgumentTypeError(f"{weight} is not a weight, a number from 0")
    return _version(version), number if equals else None


def _number(text: str) -> float:
    """NaN for what is no number: it is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _path(text: str) -> str:
    """Absolute: the server has another working folder. What has a scheme stays as it is."""
    return text if "://" in text else str(Path(text).absolute())
