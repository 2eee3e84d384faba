"""The servable versions that this worker holds: loading, probing and unloading them, off the loop's thread."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ringserve.batching_parameters import BatchingParameters, check_queue, server_parameters, version_parameters
from ringserve.errors import Code, ServingError
from ringserve.heap import give_memory_back
from ringserve.options import ServerOptions, schedulable_cpus
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import Column
from workers.absent_version import AbsentVersion
from workers.batch_economy import BatchEconomy
from workers.engine import Inputs, LoadedVersion
from workers.limits import Limits
from workers.packed_probe import confirmed, has_open_rows, probe_packed
from workers.platforms import Loaded
from workers.probe import Report, probe
from workers.queue_limits import limits_of
from workers.recorded_requests import RecordedRequests
from workers.warm_up import WarmUp, warm_up

_logger = logging.getLogger(__name__)

_LOOKUP_TABLE: Final = "lookup_table"  # the platform whose versions have no batching parameters of their own
_MOST_REPORTS: Final = 256  # of a version, the last ones: local clients may ask for forms without end
_PROBE_WAIT_SECONDS: Final = 0.2  # that a probe waits for the end of another, which would spoil its timings


class Platforms(Protocol):
    """What loads: `workers.platforms.Platforms`."""

    def load(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> Loaded: ...

    def estimate(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> int: ...


def _nothing() -> None:
    """What gives back a version that took nothing."""


@dataclass(slots=True)
class _Held:
    """A version from the beginning of its load to the end of its unload."""

    #: Held while the version is loaded, probed or unloaded: none of these goes on beside another.
    lock: threading.RLock = field(default_factory=threading.RLock)
    version: LoadedVersion | None = None  # None while it is loaded
    give_back: Callable[[], None] = _nothing
    parameters: BatchingParameters | None = None
    recorded: RecordedRequests = field(default_factory=RecordedRequests)
    reports: dict[tuple[str, Inputs | None], Report] = field(default_factory=dict)


class Versions:
    """Used by several threads, which load several versions at a time."""

    def __init__(self, platforms: Platforms, options: ServerOptions) -> None:
        """Raises ServingError for a file of batching parameters that can't be read."""
        self._server_parameters = server_parameters(options)
        self._platforms = platforms
        self._options = options
        self._held: dict[ServableId, _Held] = {}
        self._probing = threading.Lock()

    def load(
        self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]
    ) -> tuple[LoadedVersion, WarmUp]:
        """Load a version, learn how its default signature takes rows, and warm it up.

        Raises ServingError with the reason, and leaves nothing behind then; ALREADY_EXISTS when this worker holds it.
        """
        began = time.monotonic()
        held = _Held()
        with held.lock:
            self._enter(servable, held)
            try:
                loaded = self._platforms.load(servable, path, platform, options)
                held.version, held.give_back = loaded.version, loaded.unload
                held.parameters = self._read_parameters(path, platform)
                # Before all trials, for which its requests are of use; but they come first where it has none.
                warmed = warm_up(loaded.version, path, self._options, held.recorded, self._warm_up_plan(servable, held))
                if DEFAULT_SIGNATURE in loaded.version.signatures:
                    self.declared(servable, DEFAULT_SIGNATURE)
            except BaseException:
                self._abandon(servable, held)
                raise
        _logger.info("loaded servable version %s in %.2f s", servable, time.monotonic() - began)
        return loaded.version, warmed

    def _warm_up_plan(self, servable: ServableId, held: _Held) -> Callable[[str], tuple[Report, Limits]]:
        def plan(signature: str) -> tuple[Report, Limits]:
            report = self.declared(servable, signature)
            return report, BatchEconomy(report, limits_of(report, held.parameters, self._options)).limits

        return plan

    def _read_parameters(self, path: str, platform: str) -> BatchingParameters | None:
        """Of the version in this folder. Raises ServingError."""
        parameters = self._server_parameters
        if parameters is not None and platform != _LOOKUP_TABLE:
            parameters = version_parameters(self._options, parameters, path)
        if parameters is not None:
            check_queue(parameters)
        return parameters

    def _enter(self, servable: ServableId, held: _Held) -> None:
        if self._held.setdefault(servable, held) is not held:
            raise ServingError(Code.ALREADY_EXISTS, f"This worker holds {servable} already, or is loading it")

    def _abandon(self, servable: ServableId, held: _Held) -> None:
        """After a load that failed: the reason is raised already, and stands."""
        try:
            self._give_back(servable, held)
        except ServingError as error:
            _logger.error("giving back %s, whose load failed: %s", servable, error)

    def estimate(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> int:
        """Bytes of memory that the version will take. Raises ServingError."""
        return self._platforms.estimate(servable, path, platform, options)

    def put_absent(self, servable: ServableId, reason: str) -> None:
        """This worker ought to hold the version, and can't. Raises ServingError when it does."""
        self._enter(servable, _Held(version=AbsentVersion(reason)))

    def is_absent(self, servable: ServableId) -> bool:
        return isinstance(self.find(servable), AbsentVersion)

    def find(self, servable: ServableId) -> LoadedVersion | None:
        held = self._held.get(servable)
        return None if held is None else held.version

    def get(self, servable: ServableId) -> LoadedVersion:
        """Raises ServingError when this worker does not hold the version."""
        version = self.find(servable)
        if isinstance(version, AbsentVersion):
            raise version.error()
        if version is None:
            raise _not_held(servable)
        return version

    @property
    def batch_threads(self) -> int:
        """How many batches run at a time where there are batching parameters."""
        return self._server_parameters.num_batch_threads if self._server_parameters else schedulable_cpus()

    def parameters(self, servable: ServableId) -> BatchingParameters | None:
        """What the version's requests are batched by; None: no parameters."""
        held = self._held.get(servable)
        return None if held is None else held.parameters

    def reports(self, servable: ServableId) -> dict[tuple[str, Inputs | None], Report]:
        """What was found out so far, by signature and the inputs of its rows; None: as it declares them."""
        held = self._held.get(servable)
        return {} if held is None else held.reports.copy()

    def declared(self, servable: ServableId, signature: str) -> Report:
        """The report for rows as the signature declares them."""
        return self._known(servable, signature, None, lambda: self._probe_declared(servable, signature))

    def _probe_declared(self, servable: ServableId, signature: str) -> Report:
        inputs = []
        for spec in self.get(servable).signatures[signature].inputs:
            if spec.row is None or not spec.dtype.numpy:
                return self._probe_packed(servable, signature)
            inputs.append((spec.dtype.number, Column(spec.dtype.numpy, spec.row)))
        report = self.report(servable, signature, tuple(inputs))
        return report if report.form else self._probe_packed(servable, signature)

    def _probe_packed(self, servable: ServableId, signature: str) -> Report:
        version = self.get(servable)
        with self._alone():
            report = probe_packed(version, version.signatures[signature], self._held[servable].recorded.of(signature))
        _say(servable, signature, None, report)
        return report

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Other probes would spoil the timings."""
        alone = self._probing.acquire(timeout=_PROBE_WAIT_SECONDS)
        try:
            yield
        finally:
            if alone:
                self._probing.release()

    def report(self, servable: ServableId, signature: str, inputs: Inputs) -> Report:
        """The report for rows of these inputs, which requests were seen to have."""
        return self._known(servable, signature, inputs, lambda: self._probe(servable, signature, inputs))

    def _known(self, servable: ServableId, signature: str, inputs: Inputs | None, find_out: Callable[[], Report]) -> Report:
        held = self._held.get(servable)
        if held is None:
            raise _not_held(servable)
        key = signature, inputs
        if (known := held.reports.get(key)) is not None:  # without the lock, which a slow version's probe may hold
            return known
        with held.lock:
            if self._held.get(servable) is not held:  # unloaded meanwhile
                raise _not_held(servable)
            if key not in held.reports:
                if len(held.reports) >= _MOST_REPORTS:
                    del held.reports[next(iter(held.reports))]
                held.reports[key] = find_out()
            return held.reports[key]

    def _probe(self, servable: ServableId, signature: str, inputs: Inputs) -> Report:
        version = self.get(servable)
        if not has_open_rows(version.signatures[signature]):
            report = Report(None, False, "an input's first dimension is not unknown", has_rows=False)
        else:
            with self._alone():
                report = confirmed(probe(version, signature, inputs), version, signature, self._held[servable].recorded)
        _say(servable, signature, inputs, report)
        return report

    def unload(self, servable: ServableId) -> None:
        """Give the version's memory back. No run of it is under way any more. Raises what its platform raises.

        One that is being loaded is unloaded when that has ended.
        """
        held = self._held.get(servable)
        if held is None:
            return
        with held.lock:
            if self._held.get(servable) is held:
                self._give_back(servable, held)
                _logger.info("unloaded servable version %s", servable)

    def _give_back(self, servable: ServableId, held: _Held) -> None:
        give_back = held.give_back
        del self._held[servable]
        held.version, held.give_back = None, _nothing
        try:
            give_back()
        finally:
            del give_back
            give_memory_back()


def _not_held(servable: ServableId) -> ServingError:
    return ServingError(Code.NOT_FOUND, f"This worker does not hold {servable}")


def _say(servable: ServableId, signature: str, inputs: Inputs | None, report: Report) -> None:
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


def _shapes(inputs: Sequence[tuple[int, Column]] | None) -> str:
    return "of no fixed size" if inputs is None else " ".join(str(list(column.shape)) for _, column in inputs)
