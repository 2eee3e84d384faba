"""How many rows the server's batches had in the course of a run, as far as its metrics say."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_PATH: Final = "/metrics"
_METRIC: Final = "ringserve_batch_rows"
_SECONDS: Final = 5.0

#: How many batches had fewer rows than this.
Below = dict[float, float]


class BatchSizes:
    """Looks at the metrics of one model when the measuring begins, and again when it is over."""

    def __init__(self, url: str = "", model: str = "") -> None:
        """`url`: http://host:port of the server's REST port; "": nobody is asked. One without such metrics has no sizes."""
        self._url = url.rstrip("/")
        self._model = model
        self._before: Below | None = None  # None: not known
        self._thread: threading.Thread | None = None
        self.sizes: dict[str, int] = {}  # by rows, "1" or "4-7"

    @contextmanager
    def from_time(self, begin: float) -> Iterator[None]:
        """The measuring begins at this time of the monotonic clock; `stop` when it is over."""
        if not self._url:
            yield
            return
        over = threading.Event()
        self.sizes, self._before = {}, None
        self._thread = threading.Thread(target=self._look_at, args=(begin, over), daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            over.set()
            self._thread.join()

    def stop(self) -> None:
        after = None if self._before is None else self._asked()
        if self._before is not None and after is not None:
            self.sizes = grown(self._before, after)

    def _look_at(self, begin: float, over: threading.Event) -> None:
        if not over.wait(max(0.0, begin - time.monotonic())):
            self._before = self._asked()

    def _asked(self) -> Below | None:
        try:
            with urllib.request.urlopen(self._url + _PATH, timeout=_SECONDS) as answer:
                return below(answer.read().decode(), self._model)
        except (OSError, ValueError, http.client.HTTPException):
            return None


def below(page: str, model: str) -> Below:
    """Over all versions, signatures and devices of the model. Raises ValueError for what is no page of metrics."""
    counts: Below = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples if family.name == _METRIC else ():
            if sample.name.endswith("_bucket") and sample.labels.get("model") == model:
                bound = float(sample.labels["le"])
                counts[bound] = counts.get(bound, 0.0) + sample.value
    return counts


def grown(before: Below, after: Below) -> dict[str, int]:
    """The batches that came in between, by their rows. A bound's own value is counted above it."""
    bounds = sorted(after)
    added = {bound: after[bound] - before.get(bound, 0.0) for bound in bounds}
    found = {_rows(low, high): int(added[high] - added[low]) for low, high in pairwise(bounds)}
    return {rows: count for rows, count in found.items() if count > 0}


def _rows(low: float, high: float) -> str:
    if high == float("inf"):
        return f"{low:g}+"
    return f"{low:g}" if high - low <= 1 else f"{low:g}-{high - 1:g}"
