"""What a server says of its batching (`manager/explanation.py`), phrase by phrase, for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ringserve.tensor import dtype_of

Entry = Mapping[str, Any]

_UNITS: Final = ((1e6, "s"), (1e3, "ms"))


def rows_text(inputs: Sequence[Sequence[Any]] | None) -> str:
    """The rows of a form: `float[224,224,3]`, one for each input."""
    if inputs is None:
        return "as declared"
    return " ".join(f"{dtype_of(number).name}{_shape(shape)}" for number, _, shape in inputs)


def limits_text(form: Entry) -> str:
    """A batch's size, and how long requests wait for others: `at most 32 rows, in sizes 8 32, waits at most 2 ms`."""
    if not form["batched"]:
        return ""
    rows = f"at most {form['max_rows']} row{'' if form['max_rows'] == 1 else 's'}"
    sizes = f"in sizes {' '.join(map(str, form['allowed']))}" if form["allowed"] else ""
    return ", ".join(filter(None, (rows, sizes, f"waits at most {duration_text(form['timeout_us'])}")))


def cost_text(form: Entry) -> str:
    """What a batch costs, as far as it is known: `12 us + 0.4 us a row`."""
    if form["row_us"]:
        return f"{duration_text(form['fixed_us'])} + {duration_text(form['row_us'])} a row"
    return f"{duration_text(form['fixed_us'])} for one row" if form["fixed_us"] else ""


def batches_text(device: Entry) -> str:
    """Their number, and how many of which sizes: `169 batches of 312 rows (1: 120, 2-3: 40, 4-7: 9)`."""
    if not device["batches"]:
        return "no batches"
    sizes = ", ".join(f"{rows}: {count}" for rows, count in device["sizes"].items())
    return f"{_many(device['batches'], 'batch', 'batches')} of {_many(device['rows'], 'row', 'rows')} ({sizes})"


def counts_text(counts: Mapping[str, int]) -> str:
    """`idle 150, full 9`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def spread_text(spread: Entry) -> str:
    """`mean 12 us, p50 10 us, p99 31 us`."""
    names = {"mean": "mean_us", "p50": "p50_us", "p99": "p99_us"}
    return ", ".join(f"{name} {duration_text(spread[key])}" for name, key in names.items())


def duration_text(microseconds: float) -> str:
    """In the largest unit that fits, three digits: `1.25 ms`."""
    for unit, name in _UNITS:
        if microseconds >= unit:
            return f"{_digits(microseconds / unit)} {name}"
    return f"{_digits(microseconds)} us"


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]" if shape else ""


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
