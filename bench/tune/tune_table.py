"""What was found, for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.report import number
from bench.tune.front import Point
from bench.tune.setting import Setting
from bench.tune.tuning import Found

_HEADINGS: Final = ("", "answers/s", "p50 ms", "p99 ms", "memory MB", "clients", "runs", "flags")
_DEFAULTS: Final = "(the defaults)"


def numbered(found: Found) -> dict[Setting, int]:
    """The settings of the front, from 1 in its order."""
    settings = dict.fromkeys(point.setting for point in found.front)
    return {setting: number_ for number_, setting in enumerate(settings, 1)}


def parameters_path(folder: Path | None, number_: int) -> Path:
    """Where the batching parameters of the setting with this number are; without a folder, only a name."""
    return (folder or Path()) / f"batching-{number_}.config"


def text_of(found: Found, scheme: str, folder: Path | None = None) -> str:
    """The front with its flags, and the defaults beside it; then the files of parameters that are nowhere else yet."""
    numbers = numbered(found)
    rows = [(str(numbers[point.setting]), point, _flags(point.setting, scheme, folder, numbers)) for point in found.front]
    default = found.default
    if default is not None and default.setting not in numbers:
        rows.append(("-", default, _DEFAULTS))
    lines = [list(_HEADINGS), *([name, *_figures(point), flags] for name, point, flags in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADINGS))]
    text = [_joined(line, widths) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths).rstrip())
    if not found.front:
        text.append(f"no setting answered everything with the 99th percentile at most {found.limit:g} ms")
    if folder is None:
        text += [
            f"\n{parameters_path(None, at)}:\n{setting.parameters.rstrip()}"
            for setting, at in numbers.items()
            if setting.parameters
        ]
    return "\n".join(text)


def json_of(found: Found, scheme: str, folder: Path | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """The front, the defaults, all that was measured, and what could not be."""
    numbers = numbered(found)

    def entry(point: Point) -> dict[str, Any]:
        path = str(parameters_path(folder, numbers[point.setting])) if point.setting in numbers else "FILE"
        flags = point.setting.flags(scheme, path)
        fields = {name: _finite(value) for name, value in asdict(point).items()}
        return {**fields, "flags": flags, "batching_parameters": point.setting.parameters}

    return {
        **about,
        "p99_below_ms": _finite(found.limit),
        "finished": found.finished,
        "interrupted": found.interrupted,
        "front": [entry(point) for point in found.front],
        "default": entry(found.default) if found.default else None,
        "points": [entry(point) for point in found.points],
        "failures": [{"setting": asdict(setting), "reason": why} for setting, why in found.failures.items()],
    }


def _flags(setting: Setting, scheme: str, folder: Path | None, numbers: Mapping[Setting, int]) -> str:
    return " ".join(setting.flags(scheme, str(parameters_path(folder, numbers[setting])))) or _DEFAULTS


def _figures(point: Point) -> list[str]:
    figures = (point.rate, point.p50, point.p99, point.memory)
    return [*(number(value) if math.isfinite(value) else "-" for value in figures), str(point.clients), str(point.runs)]


def _joined(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(line[:-1], widths[:-1], strict=True)]
    return "  ".join([*cells, line[-1]])


def _finite(value: Any) -> Any:
    return value if not isinstance(value, float) or math.isfinite(value) else None
