"""By how much figures of one run differ from those of another, and how far that can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_DRAWS: Final = 4000  # of the bootstrap
_STEPS: Final = 4000  # of a distribution's integral
_MOST_FREEDOM: Final = 1000.0  # beyond, Student's distribution is the normal one to three digits

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the first figures the second ones are, and between which values that lies, by the confidence asked for.

    0 and inf are the ends where too few figures tell nothing.
    """

    value: float
    low: float
    high: float


def ratio(before: Sequence[float], after: Sequence[float], confidence: float, seed: int = 0) -> Ratio | None:
    """`confidence`: between 0 and 1. None where there is no ratio: without figures, and with negative ones.

    Figures of a machine under load are skewed, and there are few: the interval is Welch's, of the means of their
    logarithms (so the ratio is one of geometric means). Where figures are 0, as counts may be, it is the bootstrap's, of
    arithmetic means. Samples that hang together, such as windows of a run that drifts, make it too narrow.
    """
    if not before or not after or min(*before, *after) < 0:
        return None
    if min(*before, *after) == 0:
        return _of_means(np.asarray(before, float), np.asarray(after, float), confidence, seed)
    return _of_logarithms([math.log(value) for value in before], [math.log(value) for value in after], confidence)


def _of_logarithms(before: Sequence[float], after: Sequence[float], confidence: float) -> Ratio:
    difference = statistics.fmean(after) - statistics.fmean(before)
    if len(before) < 2 or len(after) < 2:
        return Ratio(math.exp(difference), 0.0, math.inf)
    # The square of each mean's standard error.
    first, second = statistics.variance(before) / len(before), statistics.variance(after) / len(after)
    if not first + second:
        return Ratio(math.exp(difference), math.exp(difference), math.exp(difference))
    freedom = (first + second) ** 2 / (first**2 / (len(before) - 1) + second**2 / (len(after) - 1))
    reach = student(freedom, confidence) * math.sqrt(first + second)
    return Ratio(*(_exponential(difference + way * reach) for way in (0, -1, 1)))


def _of_means(before: Values, after: Values, confidence: float, seed: int) -> Ratio:
    value = float(_quotients(before.mean(keepdims=True), after.mean(keepdims=True))[0])
    if len(before) < 2 or len(after) < 2:
        return Ratio(value, 0.0, math.inf)
    random = np.random.default_rng(seed)
    drawn = [random.choice(values, (_DRAWS, len(values))).mean(axis=1) for values in (before, after)]
    found = np.sort(_quotients(*drawn))
    outside = int((1 - confidence) / 2 * _DRAWS)
    return Ratio(value, float(found[outside]), float(found[-1 - outside]))


def _quotients(before: Values, after: Values) -> Values:
    """Nothing is as much as nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(before == after, 1.0, after / before)


@lru_cache
def student(freedom: float, confidence: float) -> float:
    """Between minus and plus how much Student's variable lies with that probability, exact to three digits.

    With t = sqrt(freedom) * tan(angle) its density becomes cos(angle) ** (freedom - 1), which is easily added up.
    """
    freedom = min(freedom, _MOST_FREEDOM)
    edges: Values = np.linspace(0.0, math.pi / 2, _STEPS + 1)
    shares: Any = np.cumsum(np.cos((edges[1:] + edges[:-1]) / 2) ** (freedom - 1))
    angle = np.interp(confidence, np.concatenate(([0.0], shares / shares[-1])), edges)
    return math.sqrt(freedom) * math.tan(angle)


def _exponential(value: float) -> float:
    """Two figures that differ widely can leave more open than a number holds."""
    return math.exp(value) if value < 700 else math.inf
