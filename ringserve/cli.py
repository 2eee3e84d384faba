"""Command line: `ringserve serve | predict | status | models | bench | tune`, and upstream's `tensorflow_model_server`."""

# Serving starts from here, so what this module imports delays every start: what one command alone needs is
# imported by that command.
import sys
from collections.abc import Mapping, Sequence

from ringserve import __version__
from ringserve.errors import ServingError
from ringserve.flags import FLAGS, UsageError, Value, parse, usage, without_effect

EXIT_USAGE = 2
EXIT_NOT_STARTED = 255  # what TensorFlow Serving's `return -1` comes to

SERVE_DEFAULTS: Mapping[str, Value] = {"rest_api_port": 8501}  # upstream has REST off, its container on 8501

_HELP = """\
usage: ringserve COMMAND ...

  serve     serve models; takes TensorFlow Serving's flags
  predict   send one request to a running server
  status    show the versions of a model on a running server
  models    look at all models of a server on this machine, load, unload and label them
  bench     put a server under load, and measure it
  tune      find the flags that suit a model

  --help    this text; after a command, that command's
  --version print versions and exit"""


def main(argv: Sequence[str] | None = None) -> int:
    """The `ringserve` command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words else ""
    if command in ("-h", "--help", "--version"):
        print(_versions() if command == "--version" else _HELP)
        return 0
    if command == "serve":
        return _serve("ringserve serve", words[1:], SERVE_DEFAULTS)
    if command == "models":
        from ringserve import models_commands  # noqa: PLC0415 (as below)

        return models_commands.run(words[1:])
    if command in ("bench", "tune"):
        return _measure(command, words[1:])
    if command not in ("predict", "status"):
        return _misused("ringserve", _unknown_command(command))
    from ringserve import client_commands  # noqa: PLC0415 (argparse and numpy: serving needs neither here)

    return client_commands.run(command, words[1:])


def tensorflow_model_server(argv: Sequence[str] | None = None) -> int:
    """The `tensorflow_model_server` command: serves, with upstream's defaults; returns the exit status."""
    return _serve("tensorflow_model_server", sys.argv[1:] if argv is None else argv, {})


def _serve(command: str, argv: Sequence[str], defaults: Mapping[str, Value]) -> int:
    try:
        line = parse(argv, defaults)
    except UsageError as error:
        return _misused(command, str(error))
    if line.help or line.options.version:
        print(usage(command, defaults) if line.help else _versions())
        return 0
    try:
        line.options.validate()
        from manager.supervisor import main as run_supervisor  # noqa: PLC0415 (only serving needs it)

        return run_supervisor(line.options, without_effect(line.given), line.given)
    except ServingError as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED


def _measure(command: str, argv: Sequence[str]) -> int:
    if command == "bench":
        from bench.harness import command as bench_command  # noqa: PLC0415 (as for clients)

        return bench_command.main(argv)
    from bench.tune import command as tune_command  # noqa: PLC0415 (as for clients)

    return tune_command.main(argv)


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 (slow, and needed only here)

    try:
        tensorflow = version("tensorflow")
    except PackageNotFoundError:
        tensorflow = "not installed"
    return f"ringserve {__version__}\nTensorFlow Library: {tensorflow}"


def _misused(command: str, text: str) -> int:
    print(f"{command}: {text}\nTry '{command} --help'.", file=sys.stderr)
    return EXIT_USAGE


def _unknown_command(word: str) -> str:
    if word.partition("=")[0].removeprefix("--") in FLAGS:
        return f"{word} belongs after a command: ringserve serve {word}"
    return f"unknown command {word} (serve, predict, status, models, bench or tune)" if word else "a command is missing"
