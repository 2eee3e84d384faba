"""The highest rate that a server stands with its latencies below a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bench.harness.outcome import Outcome
from bench.harness.plan import Open, Plan
from bench.harness.sweep import Run

_MOST: Final = 1e7  # requests/s
_TRIES: Final = 2  # something else that takes the machine for a moment must not end a search
_BEHIND: Final = 0.02  # share of the requests that may be unanswered at the end, being on their way


@dataclass(frozen=True, slots=True)
class Limit:
    """What a rate has to keep: a percentile, in milliseconds, no error, and no queue that grows."""

    milliseconds: float
    percent: float = 99.0

    def missed(self, outcome: Outcome) -> str:
        """Why it is not kept; "" when it is."""
        if outcome.failed:
            return f"{outcome.failed} errors"
        found = outcome.percentile(self.percent)
        if not found <= self.milliseconds:
            whose = ", by the load generator itself" if self._since_sent(outcome) <= self.milliseconds else ""
            return f"p{self.percent:g} {found:.3g} ms{whose if self._is_late(outcome) else ''}"
        shape = Plan.from_wire(outcome.plan).shape
        assert isinstance(shape, Open)
        noise = 3 * math.sqrt(shape.rate / outcome.seconds) if shape.arrivals == "poisson" else 0.0
        if sum(each.unsent for each in outcome.generators) or outcome.rate < shape.rate * (1 - _BEHIND) - noise:
            return f"only {outcome.rate:.0f}/s answered"
        return ""

    def fewest(self) -> float:
        """Requests that it takes to know a percentile at all."""
        return 100 / (100 - self.percent)

    def _since_sent(self, outcome: Outcome) -> float:
        return outcome.sent.percentile(self.percent) / 1e6 if outcome.sent.total else math.inf

    def _is_late(self, outcome: Outcome) -> bool:
        """Requests that had a slot went out so late that little was left of the limit."""
        return max((each.late * 1e3 for each in outcome.generators), default=0.0) > self.milliseconds / 2


class Search:
    """Doubles the rate until it does not keep the limit, then halves the gap. Ends with a run that was interrupted."""

    def __init__(self, plan: Plan, limit: Limit, precision: float, run: Run, say: Callable[[str], None]) -> None:
        """`plan`: its shape, an Open, is the first try; `precision`: share of the rate that the gap is to be at most."""
        assert isinstance(plan.shape, Open)
        self._plan, self._shape, self._limit = plan, plan.shape, limit
        self._precision = precision
        self._run = run
        self._say = say
        self.best: Outcome | None = None  # of the highest rate that keeps the limit
        self.beyond = ""  # the lowest rate that does not, and why

    def outcomes(self) -> Iterator[Outcome]:
        """As they come."""
        kept, missed, rate = 0.0, math.inf, self._shape.rate
        least = self._limit.fewest() / self._plan.seconds
        while missed > kept * (1 + self._precision) and least <= rate <= _MOST:
            for attempt in range(_TRIES):
                shape = replace(self._shape, rate=rate)
                outcome = self._run(replace(self._plan, shape=shape, seed=self._plan.seed + attempt))
                yield outcome
                if not outcome.complete:
                    return
                why = self._limit.missed(outcome)
                self._say(f"{rate:g}/s: {why or f'kept, p{self._limit.percent:g} {self._found(outcome):.3g} ms'}")
                if not why:
                    kept, self.best = rate, outcome
                    break
            else:
                missed, self.beyond = rate, f"{rate:g}/s: {why}"
            rate = _rounded(kept * 2 if missed == math.inf else missed / 2 if not kept else math.sqrt(kept * missed))
            if rate in (kept, missed):  # they are as close as rounded rates are
                return

    def _found(self, outcome: Outcome) -> float:
        return outcome.percentile(self._limit.percent)


def _rounded(rate: float) -> float:
    """To three digits: more pretend what nobody can measure."""
    return float(f"{rate:.3g}")
