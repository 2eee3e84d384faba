"""Warm-up: the first runs of a version, before any client's, by recorded requests or made-up ones."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ringserve.options import ServerOptions
from workers.engine import LoadedVersion
from workers.limits import Limits
from workers.probe import Report
from workers.recorded_requests import RecordedRequests
from workers.synthetic_warm_up import SyntheticWarmUp
from workers.warm_up_file import FILE, replay

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a version was warmed up. `source`: "file", "synthetic" or "off"; `notes`: what was left out, and why.

    `records`: read from the file; each may be several requests.
    """

    source: str
    requests: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    records: int = 0

    def to_wire(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "requests": self.requests,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "records": self.records,
        }


def warm_up(
    version: LoadedVersion,
    path: str,
    options: ServerOptions,
    recorded: RecordedRequests,
    plan: Callable[[str], tuple[Report, Limits]],
) -> WarmUp:
    """Warm up the version that was loaded from this folder, as --enable_model_warmup says.

    `recorded` gets some of the requests that it brings along. `plan` is the probe's report of a signature and the limits of
    its batches; it is asked only when there is no file. Raises ServingError when a
    recorded request fails or the file can't be read, as upstream; a made-up request's failure is a note.
    """
    if not options.enable_model_warmup:
        return WarmUp("off")
    began = time.perf_counter()
    file = os.path.join(path, FILE)
    if os.path.exists(file):
        records, requests = replay(version, file, options, recorded)
        seconds = time.perf_counter() - began
        _logger.info(
            "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
            "Elapsed time (microseconds): %d.",
            file,
            records,
            seconds * 1e6,
        )
        return WarmUp("file", requests, seconds, records=records)
    synthetic = SyntheticWarmUp(version, plan)
    synthetic.run()
    seconds = time.perf_counter() - began
    _logger.info(
        "No warmup data file found at %s: %d made-up requests run in %.2f s%s",
        file,
        synthetic.requests,
        seconds,
        "".join(f"; {note}" for note in synthetic.notes),
    )
    return WarmUp("synthetic", synthetic.requests, seconds, tuple(synthetic.notes))
