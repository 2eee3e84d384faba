"""What has been counted of signatures and their batches, for people: sizes, reasons, and how long things took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from manager.request_figures import Rows
from ringserve.channel import Message
from shm.counter_families import (
    BATCH_CLOSED,
    BATCH_RUN,
    BATCHES,
    LINGER,
    MERGE,
    PADDING,
    QUEUE,
    REJECTED,
    RETRIED,
    ROWS_BOUNDS,
    TIME_BOUNDS,
    Family,
)

_Words = Sequence[int]
_Labels = tuple[str, ...]

_QUANTILES: Final = {"p50_us": 0.5, "p99_us": 0.99}
_NS: Final = 1000


class BatchFigures:
    """Of one moment's `rows` those that tell of signatures, found by model, version and signature."""

    def __init__(self, rows: Rows) -> None:
        self._found: dict[_Labels, dict[str, list[tuple[_Labels, _Words]]]] = {}
        for (family, labels), words in rows.items():
            self._found.setdefault(labels[:3], {}).setdefault(family, []).append((labels[3:], words))

    def of_signature(self, model: str, version: int, signature: str) -> Message:
        """On all devices: "waited", how long requests waited in their lanes for their batches (`spread`; None: no request
        was in one); "rejected", requests that never got into one, by the reason.
        """
        found = self._found.get((model, str(version), signature), {})
        return {
            "waited": spread(_sum(words for _, words in found.get(QUEUE.name, ()))),
            "rejected": _by_label(found.get(REJECTED.name, ())),
        }

    def of_device(self, model: str, version: int, signature: str, device: str) -> Message:
        """On one: "batches" and their "rows", "sizes" (how many batches by their rows), "closed" (how many by why they
        were), "padding_rows", "retried"; "lingered", how long their oldest requests waited, "ran", and "merged", of those
        that took a copy (`spread`; None: there was none).
        """
        found = self._found.get((model, str(version), signature), {})

        def of(family: Family) -> Iterator[tuple[_Labels, _Words]]:
            return ((labels[1:], words) for labels, words in found.get(family.name, ()) if labels[:1] == (device,))

        batches = _sum(words for _, words in of(BATCHES))
        return {
            "batches": sum(batches[:-1]),
            "rows": sum(batches[-1:]),
            "sizes": _sizes(batches),
            "closed": _by_label(of(BATCH_CLOSED)),
            "padding_rows": sum(words[-1] for _, words in of(PADDING)),
            "retried": sum(words[0] for _, words in of(RETRIED)),
            "lingered": spread(_sum(words for _, words in of(LINGER))),
            "ran": spread(_sum(words for _, words in of(BATCH_RUN))),
            "merged": spread(_sum(words for _, words in of(MERGE))),
        }


def spread(words: _Words) -> Message | None:
    """Of a histogram of times: "count", "mean_us", and estimates of the median and the 99th percentile, taken as if the
    values in a bucket were spread evenly over it: "p50_us", "p99_us". None where it has no values.
    """
    count = sum(words[:-1])
    if not count:
        return None
    quantiles = {name: _rounded(_quantile(words, share * count)) for name, share in _QUANTILES.items()}
    return {"count": count, "mean_us": _rounded(words[-1] / count), **quantiles}


def _quantile(words: _Words, rank: float) -> float:
    """In ns; of what lies beyond the last bound no more is known than that."""
    below = 0
    for (lower, upper), count in zip(pairwise((0, *TIME_BOUNDS)), words, strict=False):
        if below + count >= rank and count:
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return TIME_BOUNDS[-1]


def _rounded(nanoseconds: float) -> float:
    """In microseconds, three digits."""
    return float(f"{nanoseconds / _NS:.3g}")


def _sizes(words: _Words) -> dict[str, int]:
    """`{"1": 120, "2-3": 40}`."""
    bounds = (0, *ROWS_BOUNDS)
    names = [str(first) if first == end - 1 else f"{first}-{end - 1}" for first, end in pairwise(bounds)]
    return {name: count for name, count in zip([*names, f"{bounds[-1]}+"], words, strict=False) if count}


def _by_label(found: Iterable[tuple[_Labels, _Words]]) -> dict[str, int]:
    """The most frequent first."""
    numbers = {labels[0]: words[0] for labels, words in found if words[0]}
    return dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


def _sum(histograms: Iterable[_Words]) -> list[int]:
    """Empty where there is none."""
    return [sum(words) for words in zip(*histograms, strict=True)]
