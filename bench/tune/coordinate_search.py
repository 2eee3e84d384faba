"""Which setting to try next: one field at a time, from the best so far."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Final

from bench.tune.axes import Axes
from bench.tune.setting import Setting

#: By how much a setting has to be better than the one that it replaces: less is noise, and defaults need no reason.
MARGIN: Final = 1.03


def coordinate_search(start: Sequence[Setting], axes: Axes, margin: float = MARGIN) -> Generator[Setting, float, Setting]:
    """Yields settings, is sent the score of each (0 or more; more is better), and returns the best.

    No setting comes twice. Ends when no change of a single field makes the best better by the margin.
    """
    scores: dict[Setting, float] = {}
    for setting in dict.fromkeys(each.normal() for each in start):
        scores[setting] = yield setting
    best = _first_best(list(scores), scores, margin)
    found = True
    while found:
        found = False
        for axis, values in axes.items():
            others = [replace(best, **{axis: value}).normal() for value in values]  # type: ignore[arg-type]
            for setting in dict.fromkeys(others):
                if setting not in scores:
                    scores[setting] = yield setting
            challenger = _first_best([best, *others], scores, margin)
            found = found or challenger != best
            best = challenger
    return best


def _first_best(settings: Sequence[Setting], scores: dict[Setting, float], margin: float) -> Setting:
    """The best one, but the first where it is not better by the margin."""
    best = max(settings, key=lambda setting: scores[setting])
    return best if scores[best] > scores[settings[0]] * margin else settings[0]
