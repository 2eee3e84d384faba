"""What all front ends and workers have counted, added up: both pages of metrics are written from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shm.counter_families import FAMILIES, RING_OCCUPANCY
from shm.counters import CounterTable

Rows = dict[tuple[str, tuple[str, ...]], list[int]]

_MASK: Final = (1 << 64) - 1


class RequestFigures:
    """`tables`: one for each process that counts, kept over its restarts."""

    def __init__(self, tables: Iterable[CounterTable]) -> None:
        self._tables = list(tables)

    def rows(self) -> Rows:
        """Each entry's words by family and labels (`shm/counter_families.py`), of several processes as if they were one:
        added up, but of the shares of rings that are occupied the largest.
        """
        rows: Rows = {}
        for table in self._tables:
            for family, labels, words in table.read():
                known = FAMILIES.get(family)
                if known is not None and (len(labels), len(words)) != (len(known.labels), known.words):
                    continue  # not what our processes write
                key = (family, labels)
                sums = rows.get(key)
                if sums is None:
                    rows[key] = list(words)
                elif len(sums) == len(words):
                    if known is RING_OCCUPANCY:
                        rows[key] = [max(pair) for pair in zip(sums, words, strict=True)]
                    else:
                        rows[key] = [a + b & _MASK for a, b in zip(sums, words, strict=True)]
        return rows
