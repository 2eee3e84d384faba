"""Outcomes in a file: one a line, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bench.harness.outcome import Outcome
from bench.harness.plan import Plan
from bench.harness.whole_file import write_whole
from bench.harness.wire_form import Count, Each, Number, misfit

_HISTOGRAM: Final = [(Count, Count)]
_WINDOW: Final = {"requests": Count, "errors": Each(Count), "latencies": _HISTOGRAM}
_PLAN: Final = {"shape": dict, "seconds": Number, "warmup": Number, "window": Number, "processes": Count}
_SHAPES: Final[dict[Any, Any]] = {"closed": {"clients": Count}, "open": {"rate": Number, "arrivals": str, "slots": Count}}
_OUTCOME: Final = {
    **{"about": dict, "plan": _PLAN, "began": str, "seconds": Number, "stable": bool, "complete": bool},
    **{"windows": [_WINDOW], "generators": [(Number, Number, Count)], "events": [(Number, str)]},
    **{"batch_sizes": Each(Count), "sent": _HISTOGRAM, "failed_after": _HISTOGRAM},
}


class ResultsError(ValueError):
    """A file of results can't be read; the text names the file and the line."""


def write_json_lines(outcomes: Iterable[Outcome], path: Path) -> None:
    """Replace the file, as a whole. Raises OSError."""
    write_whole(path, "".join(json.dumps(outcome.to_wire(), allow_nan=False) + "\n" for outcome in outcomes))


def read_json_lines(path: Path) -> list[Outcome]:
    """The outcomes of a file, in order. Raises ResultsError, also where the file can't be opened."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path} is not text: {error.reason} at byte {error.start}") from error
    return [_outcome(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _outcome(line: str, where: str) -> Outcome:
    try:
        wire = json.loads(line, parse_constant=_refuse)
        if found := misfit(wire, _OUTCOME) or _plan_misfit(wire["plan"]):
            raise ValueError(found)
        return Outcome.from_wire(wire)
    except json.JSONDecodeError as error:
        raise ResultsError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ResultsError(f"{where}: not an outcome of a run: {error}") from error


def _plan_misfit(wire: dict[str, Any]) -> str:
    """Readers of results take the plan apart."""
    kind = wire["shape"].get("kind")
    if not isinstance(kind, str) or kind not in _SHAPES:
        return f"plan.shape.kind is neither {' nor '.join(_SHAPES)}"
    if not wire["window"]:
        return "plan.window is 0"
    if found := misfit(wire["shape"], _SHAPES[kind], "plan.shape"):
        return found
    Plan.from_wire(wire)
    return ""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
