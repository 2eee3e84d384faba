"""Client commands: `ringserve predict` and `ringserve status`, which ask a running server over REST."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ringserve.errors import ServingError
from ringserve.flags import UsageError
from ringserve.rest_client import RestClient, VersionStatus, parse_status

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # as a shell counts SIGINT

DEFAULT_URL = "http://127.0.0.1:8501"


def run(command: str, argv: Sequence[str]) -> int:
    """Runs `predict` or `status`; returns the exit status."""
    try:
        return (_predict if command == "predict" else _status)(argv)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        return int(stop.code or 0)
    except ServingError as error:
        print(error.message, file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """Reports a misuse in two lines, as the server's flags do."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, allow_abbrev=False)
        self.add_argument("--url", default=DEFAULT_URL, help="the server (default: %(default)s)")
        self.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds to wait (default: 30)")

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def _predict(argv: Sequence[str]) -> int:
    parser = _Parser("ringserve predict", "Sends one predict request and prints the answer.")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        help="a JSON list of instances; or NAME=JSON, once for each input; "
        "or @FILE or - (standard input) for a whole request",
    )
    parser.add_argument("--signature", help="signature to run (default: serving_default)")
    parser.add_argument("--version", type=int, metavar="N", help="version to ask (default: the newest)")
    arguments = parser.parse_args(argv)
    try:
        body = request_body(arguments.input, arguments.signature)
    except UsageError as error:
        parser.error(str(error))
    client = RestClient(arguments.url, arguments.timeout)
    _print_json(client.predict(arguments.model, body, arguments.version))
    return 0


def _status(argv: Sequence[str]) -> int:
    parser = _Parser("ringserve status", "Shows the versions of a model; fails if none is AVAILABLE.")
    parser.add_argument("model", metavar="MODEL", nargs="?", default="default")
    parser.add_argument("--json", action="store_true", help="print the server's answer as it is")
    arguments = parser.parse_args(argv)
    payload = RestClient(arguments.url, arguments.timeout).status(arguments.model)
    versions = parse_status(payload)
    print(payload.decode(errors="replace").rstrip() if arguments.json else table(versions))
    return 0 if any(version.state == "AVAILABLE" for version in versions) else EXIT_FAILED


def request_body(inputs: Sequence[str], signature: str | None) -> bytes:
    """The request that `--input` words stand for. Raises UsageError for words that make none.

    JSON texts are checked and then sent as they were written: for the server 1 and 1.0 are not the same.
    """
    if len(inputs) == 1 and (inputs[0] == "-" or inputs[0].startswith("@")):
        if signature is not None:
            raise UsageError("--signature goes into the request itself, as signature_name")
        return _read(inputs[0])
    named: dict[str, str] = {}
    for word in inputs:
        name, equals, text = word.partition("=")
        if not equals or '"' in name:  # JSON has a = only inside strings, so after a quote
            name, text = "", word
        if name in named:
            raise UsageError(f"--input {name}=... is given twice" if name else "more than one unnamed --input")
        named[name] = _checked(text)
    if "" not in named:
        columns = ", ".join(f"{json.dumps(name)}: {text}" for name, text in named.items())
        fields = [f'"inputs": {{{columns}}}']
    elif len(named) > 1:
        raise UsageError("either every --input has a name, or there is only one")
    elif not named[""].lstrip().startswith("["):
        raise UsageError("an --input without a name is a JSON list of instances, such as '[1.0, 2.0]'")
    else:
        fields = [f'"instances": {named[""]}']
    if signature is not None:
        fields.insert(0, f'"signature_name": {json.dumps(signature)}')
    return f"{{{', '.join(fields)}}}".encode()


def _read(source: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {source[1:]}: {error.strerror}") from error


def _checked(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--input is not JSON: {text} ({error})") from error
    return text


def table(versions: Sequence[VersionStatus]) -> str:
    """Columns version, state, error; one line a version."""
    rows = [("VERSION", "STATE", "ERROR")]
    rows += [(str(entry.version), entry.state, " ".join(entry.error.split())) for entry in versions]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{row[0]:>{first}}  {row[1]:{second}}  {row[2]}".rstrip() for row in rows)


def _print_json(payload: bytes) -> None:
    try:
        text = pretty(json.loads(payload))
    except (ValueError, RecursionError):
        text = payload.decode(errors="replace").rstrip()
    # A lone surrogate has no UTF-8 form; its escape is what the answer held, and still JSON.
    print(text.encode(errors="backslashreplace").decode())


def pretty(value: Any, indent: str = "") -> str:
    """JSON text with a line for each member, but a list of plain values on one line: rows stay rows."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        members = [f"{json.dumps(key, ensure_ascii=False)}: {pretty(member, inner)}" for key, member in value.items()]
        opening, closing = "{}"
    elif isinstance(value, list) and any(isinstance(member, list | dict) for member in value):
        members = [pretty(member, inner) for member in value]
        opening, closing = "[]"
    else:
        return json.dumps(value, ensure_ascii=False)
    lines = f",\n{inner}".join(members)
    return f"{opening}\n{inner}{lines}\n{indent}{closing}"
