"""What command lines of the load harness have in common: how they complain, and what their values are."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from bench.harness.sweep import numbers
from ringserve.exit_codes import EXIT_USAGE

_UNITS: Final = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_SHORTEST: Final = 0.01  # s


class Parser(argparse.ArgumentParser):
    """Reports a misuse in two lines, as the server's flags do."""

    def __init__(self, prog: str, description: str, **settings: Any) -> None:
        super().__init__(prog, description=description, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse shows the text of this error, and of no other."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def counts(text: str) -> list[int]:
    found = numbers(text)
    if any(value != int(value) for value in found):
        raise ValueError(f"{text}: only whole numbers")
    return [int(value) for value in found]


def seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)(ms|s|m|h|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no time, like 10, 1.5s, 200ms or 2m")
    return float(found[1]) * _UNITS[found[2]]


def above_zero(text: str) -> float:
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text} is no time above 0")
    return value


def window(text: str) -> float:
    """A stretch of time that figures are given for."""
    value = seconds(text)
    if value < _SHORTEST:
        raise argparse.ArgumentTypeError(f"{text} is less than {_SHORTEST * 1e3:g}ms")
    return value


def percent(text: str) -> float:
    """`5%` and `5` are 0.05."""
    value = _number(text.removesuffix("%"))
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text} is no percentage between 0 and 100")
    return value / 100


def positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text} is no whole number")
    return int(text)


def count(text: str) -> int:
    if not whole(text):
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or "\n" in text or "\r" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no header, like Name: value")
    return name.strip(), value.strip()


def file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def folder(text: str) -> Path:
    """That is there, or can be made. Looked at before a long run, not after it."""
    path = Path(text)
    nearest = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} can't be written to")
    return path


def writable(text: str) -> Path:
    """Looked at before a long run, not after it."""
    path = Path(text)
    folder = next((parent for parent in path.absolute().parents if parent.exists()), path)
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} can't be written")
    return path
