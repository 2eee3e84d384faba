"""Runs one after the other: over concurrencies or rates, each as often as is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bench.harness.outcome import Outcome
from bench.harness.plan import Plan, Shape

#: Does what a plan says.
Run = Callable[[Plan], Outcome]


def sweep(plan: Plan, shapes: Sequence[Shape], repeat: int, run: Run) -> Iterator[Outcome]:
    """All shapes, then all of them again: what changes on the machine in the meantime meets all alike.

    Ends with a run that was interrupted. Each repetition has a seed of its own.
    """
    for repetition in range(repeat):
        for shape in shapes:
            outcome = run(replace(plan, shape=shape, seed=plan.seed + repetition))
            yield outcome
            if not outcome.complete:
                return


def numbers(text: str) -> list[float]:
    """`1,2,8` as they are, `100:500:200` as 100, 300, 500, `1:4` in steps of 1; also mixed. Raises ValueError."""
    found: list[float] = []
    for part in text.split(","):
        words = [float(word) for word in part.split(":")]
        if len(words) == 1:
            found += words
            continue
        start, end, step = (*words, 1.0) if len(words) == 2 else words
        if not (step > 0 and start <= end and (end - start) / step < 1000):
            raise ValueError(f"{part} is no range")
        found += [start + index * step for index in range(int((end - start) / step + 1e-9) + 1)]
    if not all(0 < value < float("inf") for value in found):
        raise ValueError(f"{text}: only numbers above 0")
    return found
