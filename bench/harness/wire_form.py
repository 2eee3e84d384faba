"""What JSON has to look like to be read as an outcome: a value, its form, and where the two first differ.

A form is a type, a list of one form (of all entries), a tuple of forms (a list of so many entries), a mapping of names to
forms (these fields, and maybe others), or `Each` (any names, values of one form).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Each:
    """An object whose names are free, and whose values are alike."""

    form: Any


class Count:
    """A whole number from 0 on."""


class Number:
    """A finite number from 0 on."""


_WORDS: Final = {str: "a text", bool: "true or false", dict: "an object", Count: "a count", Number: "a number from 0 on"}


def misfit(value: Any, form: Any, where: str = "") -> str:
    """The first place where the value is not of the form, and what should be there; "" when there is none."""
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{where or 'it'} is not a list"
        return _first(misfit(entry, form[0], f"{where}[{index}]") for index, entry in enumerate(value))
    if isinstance(form, tuple):
        if not isinstance(value, list) or len(value) != len(form):
            return f"{where or 'it'} is not a list of {len(form)}"
        pairs = zip(value, form, strict=True)
        return _first(misfit(entry, each, f"{where}[{index}]") for index, (entry, each) in enumerate(pairs))
    if isinstance(form, Mapping | Each):
        return _object_misfit(value, form, where)
    return "" if _is(value, form) else f"{where or 'it'} is not {_WORDS[form]}"


def _object_misfit(value: Any, form: Mapping[str, Any] | Each, where: str) -> str:
    if not isinstance(value, dict):
        return f"{where or 'it'} is not an object"
    if isinstance(form, Each):
        return _first(misfit(entry, form.form, f"{where}[{name!r}]") for name, entry in value.items())
    for name, each in form.items():
        if name not in value:
            return f"{where + '.' if where else ''}{name} is missing"
        if found := misfit(value[name], each, f"{where + '.' if where else ''}{name}"):
            return found
    return ""


def _is(value: Any, form: type) -> bool:
    if form is Count:
        return type(value) is int and value >= 0
    if form is Number:
        return type(value) in (int, float) and math.isfinite(value) and value >= 0
    return type(value) is form


def _first(found: Any) -> str:
    return next((each for each in found if each), "")
