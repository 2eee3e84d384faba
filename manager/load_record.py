"""What became of loads by the folder that was loaded, as TensorFlow and TensorFlow Serving count them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from manager.upstream_exposition import LATENCY, Metric, Series
from ringserve.channel import Message

#: Folders that are remembered, those loaded last. Upstream remembers all: a version an hour, and it grows for ever.
MOST_PATHS: Final = 4096

_CC: Final = "/tensorflow/cc/saved_model/"
_SERVING: Final = "/tensorflow/serving/"
_ATTEMPTS: Final = Metric(f"{_CC}load_attempt_count", "counter", ("model_path", "status"))
_LOAD_TIME: Final = Metric(f"{_CC}load_latency", "counter", ("model_path",))  # microseconds
_WARM_UP_LABELS: Final = ("model_path", "status")
_WARM_UP: Final = Metric(f"{_SERVING}model_warmup_latency", "histogram", _WARM_UP_LABELS, LATENCY)
_WARM_UP_RECORDS: Final = Metric(f"{_SERVING}model_warmup_records_read", "counter", _WARM_UP_LABELS)


@dataclass(slots=True)
class _Loads:
    succeeded: int = 0
    failed: int = 0
    microseconds: int = 0
    warm_ups: int = 0  # with recorded requests
    records: int = 0
    warm_up_latency: list[int] = field(default_factory=_WARM_UP.empty)


class LoadRecord:
    """Counts grow as long as the server runs, whatever becomes of the versions. `clock` gives ns."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, most_paths: int = MOST_PATHS) -> None:
        self._clock = clock
        self._most_paths = most_paths
        self._loads: dict[str, _Loads] = {}

    async def watch(self, path: str, load: Awaitable[Message]) -> Message:
        """Await a load of the folder, and count it, unless it was cancelled; returns or raises what the load does."""
        began = self._clock()
        try:
            answer = await load
        except Exception:
            loads = self._of(path)
            loads.failed += 1
            loads.microseconds += (self._clock() - began) // 1000
            raise
        loads = self._of(path)
        loads.succeeded += 1
        warm_up = answer["warm_up"]
        microseconds = int(warm_up["seconds"] * 1e6)
        loads.microseconds += max((self._clock() - began) // 1000 - microseconds, 0)  # upstream warms up after the load
        if warm_up["source"] == "file":
            loads.warm_ups += 1
            loads.records += warm_up["records"]
            _WARM_UP.observe(loads.warm_up_latency, microseconds)
        return answer

    def _of(self, path: str) -> _Loads:
        """Kept in the order of the last loads."""
        loads = self._loads[path] = self._loads.pop(path) if path in self._loads else _Loads()
        if len(self._loads) > self._most_paths:
            del self._loads[next(iter(self._loads))]
        return loads

    def metrics(self) -> dict[Metric, Series]:
        """TensorFlow's metrics of loads, and TensorFlow Serving's of warm-ups, which has only those that went well."""
        warm = {(path, "OK"): loads for path, loads in self._loads.items() if loads.warm_ups}
        return {
            _ATTEMPTS: dict(self._attempts()),
            _LOAD_TIME: {(path,): [loads.microseconds] for path, loads in self._loads.items()},
            _WARM_UP: {labels: loads.warm_up_latency for labels, loads in warm.items()},
            _WARM_UP_RECORDS: {labels: [loads.records] for labels, loads in warm.items()},
        }

    def _attempts(self) -> Iterator[tuple[tuple[str, str], list[int]]]:
        for path, loads in self._loads.items():
            for status, count in (("success", loads.succeeded), ("fail", loads.failed)):
                if count:
                    yield (path, status), [count]
