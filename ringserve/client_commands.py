"""Client commands: `ringserve predict` and `ringserve status`, which ask a running server by any of its protocols."""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from ringserve.client import Client, Prediction
from ringserve.client.deadline import limit
from ringserve.client.http.exchange import HttpAnswer, HttpQuestion
from ringserve.client.http.facts import version_states
from ringserve.client.http.paths import model_path
from ringserve.client.key import checked_key
from ringserve.client.known_signatures import named_signature
from ringserve.command_answers import SAVED, answer_document, save, status_document, table
from ringserve.command_inputs import Inputs, PictureFile, read_inputs
from ringserve.command_pictures import picture_array
from ringserve.errors import Code, ServingError
from ringserve.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from ringserve.flags import UsageError
from ringserve.pretty_json import pretty, print_json, print_text
from ringserve.priority import HEADER, HIGH, LOW
from ringserve.servable import State
from ringserve.signature import DEFAULT_SIGNATURE

DEFAULT_URL = "http://127.0.0.1:8501"
_LATE: Final = "No answer within "  # how a client says it, which has no name for its server


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
        self.add_argument(
            "--url",
            default=DEFAULT_URL,
            help="the server (default: %(default)s): http, https, grpc, grpcs or zmq://host:port, "
            "grpc+unix, zmq+ipc or shm:///path/of/a/socket",
        )
        self.add_argument("--timeout", type=_seconds, default=30.0, metavar="S", help="seconds to wait (default: 30)")

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"invalid number of seconds: {text!r}")
    return seconds


def _predict_parser() -> _Parser:
    parser = _Parser("ringserve predict", "Sends one predict request and prints the answer.")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        help="a JSON list of instances; or NAME=JSON, once for each input; or FILE.npy, FILE.npz or a picture "
        "(.png, .jpg), with NAME= before it or, for the only input, without; or @FILE for a whole JSON request; "
        "or - for standard input, which is an array or JSON",
    )
    parser.add_argument("--signature", help=f"signature to run (default: {DEFAULT_SIGNATURE})")
    parser.add_argument("--outputs", metavar="A,B", help="only these outputs (default: all)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="version to ask (default: the newest)")
    which.add_argument("--label", help="label of the version to ask")
    parser.add_argument("--key", help="requests with the same key get the same version of a label")
    parser.add_argument(
        "--priority",
        choices=(HIGH, LOW),
        default=HIGH,
        help="low: to run when no others wait, or to fill up a batch (default: high)",
    )
    parser.add_argument("--out", metavar="FILE", help="save the arrays as .npz, or one as .npy, and print nothing")
    return parser


def _predict(argv: Sequence[str]) -> int:
    parser = _predict_parser()
    arguments = parser.parse_args(argv)
    try:
        inputs = read_inputs(arguments.input)
        if arguments.out is not None and not arguments.out.endswith(SAVED):
            raise UsageError(f"--out is a .npz or a .npy file, not {arguments.out}")
        as_written = inputs.is_text and arguments.outputs is None and arguments.out is None
        if as_written and _is_http(arguments):
            print_json(_posted(arguments, inputs.request(arguments.signature)))
            return 0
        outputs = _predicted(arguments, inputs)
        if arguments.out is not None:
            save(arguments.out, outputs)
        else:
            print_text(pretty(answer_document(outputs, inputs.in_rows)))
    except UsageError as error:
        parser.error(str(error))
    return 0


def _status(argv: Sequence[str]) -> int:
    parser = _Parser("ringserve status", "Shows the versions of a model; fails if none is AVAILABLE.")
    parser.add_argument("model", metavar="MODEL", nargs="?", default="default")
    parser.add_argument("--json", action="store_true", help="print JSON: over http the server's answer as it is")
    arguments = parser.parse_args(argv)
    if arguments.json and _is_http(arguments):
        answer = _asked_over_http(arguments, HttpQuestion("GET", model_path((arguments.model, None, None))))
        versions = version_states(answer.document())
        print_text(answer.body.decode(errors="replace").rstrip())
    else:
        with _client(arguments) as client, _in_words(arguments):
            versions = client.status(arguments.model)
        print_text(json.dumps(status_document(versions), indent=2) if arguments.json else table(versions))
    return 0 if any(version.state is State.AVAILABLE for version in versions) else EXIT_FAILED


def _posted(arguments: argparse.Namespace, body: bytes) -> bytearray:
    """The answer to a request that is sent as it was written."""
    headers = {"Content-Type": "application/json"}
    key = checked_key(arguments.key)
    if key is not None:
        headers["X-Ringserve-Key"] = key
    if arguments.priority == LOW:
        headers[HEADER] = LOW
    path = model_path((arguments.model, arguments.version, arguments.label))
    return _asked_over_http(arguments, HttpQuestion("POST", f"{path}:predict", [body], headers)).body


def _asked_over_http(arguments: argparse.Namespace, question: HttpQuestion) -> HttpAnswer:
    from ringserve.client.http.transport import HttpTransport  # noqa: PLC0415 (as the client: only where the URL wants it)

    with _checked_url(arguments):
        transport = HttpTransport(arguments.url)
    try:
        with _in_words(arguments):
            return transport.ask(question, limit(arguments.timeout)).checked()
    finally:
        transport.close()


def _predicted(arguments: argparse.Namespace, inputs: Inputs) -> Prediction:
    named, values = inputs.plain()
    if named is not None and arguments.signature is not None:
        raise UsageError("--signature goes into the request itself, as signature_name")
    words: dict[str, Any] = {
        "version": arguments.version,
        "label": arguments.label,
        "signature": named or arguments.signature or "",
        "key": arguments.key,
        "priority": arguments.priority,
    }
    outputs = None if arguments.outputs is None else [name for name in arguments.outputs.split(",") if name]
    with _client(arguments) as client, _in_words(arguments):
        if any(isinstance(value, PictureFile) for value in values.values()):
            values = _with_arrays(client, arguments, words["signature"] or DEFAULT_SIGNATURE, values)
        return client.predict(arguments.model, values.get("", values), outputs=outputs, **words)


def _with_arrays(client: Client, arguments: argparse.Namespace, signature: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """In the place of pictures, as the signature has its inputs."""
    metadata = client.metadata(arguments.model, version=arguments.version, label=arguments.label)
    specs = {spec.alias: spec for spec in named_signature(metadata, signature).inputs}
    arrays = {}
    for name, value in values.items():
        alias = next(iter(specs)) if not name and len(specs) == 1 else name
        if alias not in specs:
            raise UsageError(f"--input NAME=... is one of {', '.join(specs) or 'none at all'}")
        arrays[alias] = picture_array(value, specs[alias]) if isinstance(value, PictureFile) else value
    return arrays


def _client(arguments: argparse.Namespace) -> Client:
    with _checked_url(arguments):
        return Client(arguments.url, timeout=arguments.timeout)


@contextmanager
def _in_words(arguments: argparse.Namespace) -> Iterator[None]:
    """Errors say which server they are about."""
    try:
        yield
    except ServingError as error:
        if error.code is Code.DEADLINE_EXCEEDED and error.message.startswith(_LATE):
            text = f"no answer from {arguments.url.rstrip('/')} within {arguments.timeout:g} s"
            raise ServingError(error.code, text) from error
        raise


@contextmanager
def _checked_url(arguments: argparse.Namespace) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"not a server's URL: {arguments.url} ({error})") from error


def _is_http(arguments: argparse.Namespace) -> bool:
    return arguments.url.partition("://")[0] in ("http", "https")
