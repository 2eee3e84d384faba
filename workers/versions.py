"""The servable versions that this worker holds: loading, probing and unloading them, off the loop's thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence

from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import Column
from workers.absent_version import AbsentVersion
from workers.engine import Engine, LoadedVersion
from workers.probe import Report, probe

_logger = logging.getLogger(__name__)

Inputs = tuple[tuple[int, Column], ...]


class Versions:
    """Used by several threads. Loading goes on at low priority while the loop serves other versions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loaded: dict[ServableId, LoadedVersion] = {}
        self._reports: dict[tuple[ServableId, str, Inputs | None], Report] = {}
        self._lock = threading.RLock()  # no version is unloaded while it is probed

    def load(self, servable: ServableId, path: str) -> LoadedVersion:
        """Load a version and learn how its default signature takes rows. Raises ServingError with the reason."""
        began = time.monotonic()
        version = self._engine.load(path)
        self._loaded[servable] = version
        try:
            if DEFAULT_SIGNATURE in version.signatures:
                self.declared(servable, DEFAULT_SIGNATURE)
        except BaseException:
            self.unload(servable)
            raise
        _logger.info("loaded servable version %s in %.2f s", servable, time.monotonic() - began)
        return version

    def put_absent(self, servable: ServableId, reason: str) -> None:
        """This worker ought to hold the version, and can't."""
        self._loaded[servable] = AbsentVersion(reason)

    def is_absent(self, servable: ServableId) -> bool:
        return isinstance(self._loaded.get(servable), AbsentVersion)

    def find(self, servable: ServableId) -> LoadedVersion | None:
        return self._loaded.get(servable)

    def get(self, servable: ServableId) -> LoadedVersion:
        """Raises ServingError when this worker does not hold the version."""
        version = self.find(servable)
        if isinstance(version, AbsentVersion):
            raise version.error()
        if version is None:
            raise ServingError(Code.NOT_FOUND, f"This worker does not hold {servable}")
        return version

    def declared(self, servable: ServableId, signature: str) -> Report:
        """The report for rows as the signature declares them."""
        key = (servable, signature, None)
        if (known := self._reports.get(key)) is not None:  # without the lock, which a slow version's probe may hold
            return known
        with self._lock:
            if key not in self._reports:
                specs = self.get(servable).signatures[signature].inputs
                inputs = []
                for spec in specs:
                    if spec.row is None or not spec.dtype.numpy:
                        reason = "its inputs have no fixed-size rows"
                        self._keep(key, Report(None, False, reason))
                        break
                    inputs.append((spec.dtype.number, Column(spec.dtype.numpy, spec.row)))
                else:
                    self._reports[key] = self.report(servable, signature, tuple(inputs))
            return self._reports[key]

    def report(self, servable: ServableId, signature: str, inputs: Inputs) -> Report:
        """The report for rows of these inputs, which requests were seen to have."""
        key = (servable, signature, inputs)
        if (known := self._reports.get(key)) is not None:  # without the lock, which a slow version's probe may hold
            return known
        with self._lock:
            if key not in self._reports:
                version = self.get(servable)
                if any(not spec.shape or spec.shape[0] != -1 for spec in version.signatures[signature].inputs):
                    self._keep(key, Report(None, False, "an input's first dimension is not unknown"))
                else:
                    self._keep(key, probe(version, signature, inputs))
            return self._reports[key]

    def _keep(self, key: tuple[ServableId, str, Inputs | None], report: Report) -> None:
        self._reports[key] = report
        servable, signature, inputs = key
        _logger.info(
            "%s signature %s, rows %s: %s (%s%s)",
            servable,
            signature,
            _shapes(inputs),
            f"batched, at most {report.most_rows} rows" if report.batched else "not batched",
            report.reason,
            f"; {report.seconds * 1e6:.0f} us a row, {'calling thread' if report.inline else 'thread pool'}"
            if report.form
            else "",
        )

    def unload(self, servable: ServableId) -> None:
        """Give the version's memory back. No run of it is under way any more."""
        with self._lock:
            self._reports = {key: report for key, report in self._reports.items() if key[0] != servable}
            version = self._loaded.pop(servable, None)
            if version is not None:
                version.unload()
                _logger.info("unloaded servable version %s", servable)


def _shapes(inputs: Sequence[tuple[int, Column]] | None) -> str:
    return "of no fixed size" if inputs is None else " ".join(str(list(column.shape)) for _, column in inputs)


def lower_priority() -> None:
    """Let this thread wait for the ones that serve. Not for the first load: TensorFlow's pools inherit it for good."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
