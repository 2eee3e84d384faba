"""A worker process: a control thread that does what the supervisor asks, and the loop that serves the lanes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from ringserve.channel import Channel, Message
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions, schedulable_cpus
from ringserve.scheduling import give_way
from ringserve.servable import ServableId
from shm.bell import Bell
from shm.consumer import LaneConsumer
from shm.counters import CounterTable
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import LaneSpec
from workers.batch_counters import BatchCounters
from workers.engine import LoadedVersion
from workers.explanation import explained, merged
from workers.local_consumer import LocalConsumer
from workers.loop import Loop
from workers.probe import Report
from workers.queue_limits import limits_of
from workers.queues import Queues
from workers.route import Route, form_from_wire, report_to_wire
from workers.versions import Platforms, Versions

_logger = logging.getLogger(__name__)

_BEAT_SECONDS: Final = 1.0
_EXPLAIN_SECONDS: Final = 0.3  # that a batch in the loop may hold up what is said of its queues
_THREADS_A_CPU: Final = 4  # as many as the supervisor lets load at a time when it starts
_FEWEST_THREADS: Final = 16


class Worker:
    """Answers the supervisor's messages: load, estimate, explain, absent, form, lane, drop_lane, close, unload, stop."""

    def __init__(
        self,
        channel: Channel,
        doorbell: Doorbell,
        options: ServerOptions,
        make_platforms: Callable[[], Platforms],
        *,
        device: str = "",
        counters: CounterTable | None = None,
    ) -> None:
        """`device` is what counts in `counters` go by; without a table nothing is counted."""
        self._channel = channel
        self._options = options
        self._loop = Loop(doorbell)
        self._make_platforms = make_platforms
        self._versions: Versions
        self._queues = Queues(
            self._loop,
            self._find,
            lambda servable, report: limits_of(report, self._versions.parameters(servable), options),
            lambda: self._versions.batch_threads,
            BatchCounters(counters, device) if counters else None,
        )
        # The supervisor says how much goes on at a time; these many threads so that what hangs holds up nothing else.
        self._loading = ThreadPoolExecutor(_threads(options.num_load_threads), "load", initializer=give_way)
        self._unloading = ThreadPoolExecutor(_threads(options.num_unload_threads), "unload")
        self._estimating = ThreadPoolExecutor(_threads(options.num_load_threads), "estimate")
        self._probing = ThreadPoolExecutor(_threads(0), "probe")  # a lane need not wait for another version's long load
        self._explaining = ThreadPoolExecutor(1, "explain")  # which waits for nothing
        self._handlers: dict[str, Callable[[Message, list[int]], None]] = {
            "load": self._on_load,
            "estimate": self._on_estimate,
            "explain": self._on_explain,
            "absent": self._on_absent,
            "form": self._on_form,
            "lane": self._on_lane,
            "drop_lane": self._on_drop_lane,
            "close": self._on_close,
            "unload": self._on_unload,
            "stop": self._on_stop,
        }

    def run(self) -> None:
        """Until the supervisor says stop."""
        self._loading.submit(self._boot)
        threading.Thread(target=self._listen, name="control", daemon=True).start()
        self._loop.run()

    def _boot(self) -> None:
        try:
            self._versions = Versions(self._make_platforms(), self._options)
        except Exception as error:
            if not isinstance(error, ServingError):
                error = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            self._channel.send({"type": "boot_failed", "code": int(error.code), "message": error.message})
            return
        self._channel.send({"type": "ready", "pid": os.getpid()})

    def _find(self, servable: ServableId) -> LoadedVersion | None:
        return self._versions.find(servable)

    def _listen(self) -> None:
        try:
            while True:
                for message, fds in self._channel.receive(_BEAT_SECONDS):
                    self._handlers[message["type"]](message, fds)
                self._loop.post(self._loop.beat)
        except EOFError:
            os._exit(0)  # the supervisor is gone: nobody is left to answer
        except Exception:
            _logger.exception("the control channel failed in a way it never should; a new worker goes on")
            os._exit(1)

    def _job(self, thread: ThreadPoolExecutor, message: Message, work: Callable[[], Message]) -> None:
        """Do `work` on this thread and send what it returns, or its error, as the answer to `message`."""

        def run() -> None:
            try:
                answer = work()
            except ServingError as error:
                answer = _failure(error.code, error.message)
            except Exception as error:
                _logger.exception("%s failed in a way it never should", message["type"])
                answer = _failure(Code.INTERNAL, f"worker error: {error}")
            self._channel.send({"type": "answer", "call": message["call"], **answer})

        thread.submit(run)

    def _on_load(self, message: Message, _: list[int]) -> None:
        servable, platform = ServableId(*message["servable"]), message["platform"]

        def load() -> Message:
            version, warm_up = self._versions.load(servable, message["path"], platform, message["options"])
            self._loop.post(lambda: self._queues.welcome(servable))
            signatures = [signature.to_wire() for signature in version.signatures.values()]
            parameters = self._versions.parameters(servable)
            return {
                "signatures": signatures,
                "metadata": version.metadata,
                "warm_up": warm_up.to_wire(),
                "batching": parameters.to_wire() if parameters else None,
            }

        self._job(self._loading, message, load)

    def _on_estimate(self, message: Message, _: list[int]) -> None:
        servable = ServableId(*message["servable"])

        def estimate() -> Message:
            return {"bytes": self._versions.estimate(servable, message["path"], message["platform"], message["options"])}

        self._job(self._estimating, message, estimate)

    def _on_explain(self, message: Message, _: list[int]) -> None:
        servable = ServableId(*message["servable"])

        def explain() -> Message:
            version = self._versions.get(servable)
            reports, parameters = self._versions.reports(servable), self._versions.parameters(servable)
            known = explained(list(version.signatures), reports, self._options, parameters)
            return {"queues": merged(known, self._live(servable))}

        self._job(self._explaining, message, explain)

    def _live(self, servable: ServableId) -> Sequence[Message]:
        """What the version's queues know better than its load did, as `merged` takes it; nothing where the loop is busy.

        Not in the loop's thread.
        """
        found: Future[Sequence[Message]] = Future()
        self._loop.post(lambda: found.set_result(self._queues.explain(servable)))
        try:
            return found.result(_EXPLAIN_SECONDS)
        except TimeoutError:
            return ()

    def _on_absent(self, message: Message, _: list[int]) -> None:
        """A version that the worker before held can't be loaded: its requests are to be refused."""
        servable = ServableId(*message["servable"])

        def note() -> Message:
            self._versions.put_absent(servable, message["reason"])
            self._loop.post(lambda: self._queues.welcome(servable))
            return {}

        self._job(self._unloading, message, note)

    def _on_form(self, message: Message, _: list[int]) -> None:
        route = Route.from_wire(message)
        self._job(self._probing, message, lambda: report_to_wire(self._report(route)))

    def _report(self, route: Route) -> Report:
        if route.inputs is None:
            return self._versions.declared(route.servable, route.signature)
        parameters = self._versions.parameters(route.servable)
        if parameters is not None and parameters.pad_variable_length_inputs:
            return Report(None, False, "rows are padded to those of other forms")  # with which they have to meet
        return self._versions.report(route.servable, route.signature, route.inputs)

    def _on_lane(self, message: Message, fds: list[int]) -> None:
        segment, doorbell = fds
        route = Route.from_wire(message)

        def attach() -> Message:
            try:
                report = self._lane_report(route, message)
                spec = LaneSpec.from_wire(message["columns"], message["ring_bytes"])
                lane = Lane.attach(os.dup(segment), spec)
                add = self._adding(route, report, message, lane, doorbell)
            except BaseException:
                os.close(doorbell)
                raise
            finally:
                os.close(segment)
            self._loop.post(add)
            return {}

        self._job(self._probing, message, attach)

    def _adding(self, route: Route, report: Report, message: Message, lane: Lane, doorbell: int) -> Callable[[], None]:
        """What puts a lane into its queue; `doorbell`: of its front end, or the bell of a local client."""
        number = message["lane"]
        if message.get("local"):
            local = LocalConsumer(lane, message["most_request_bytes"])
            bell, most_rows = Bell(doorbell), message["most_rows"]
            return lambda: self._queues.add_local(route, report, number, local, bell, most_rows)
        consumer, frontend = LaneConsumer(lane), message["frontend"]
        return lambda: self._queues.add(route, report, number, consumer, frontend, doorbell)

    def _lane_report(self, route: Route, message: Message) -> Report:
        """What the version does with rows of a lane, by the columns that the lane was made with.

        A new worker may find another answer than the one before, under which the lane was made: then its rows are run one
        by one.
        """
        form = form_from_wire(message["columns"])
        if self._versions.is_absent(route.servable):
            return Report(form, False, "the version is not loaded")
        report = self._report(route)
        if report.form != form:
            return Report(form, False, "a run on synthetic rows gave outputs of another form than before")
        return report

    def _on_drop_lane(self, message: Message, _: list[int]) -> None:
        self._loop.post(lambda: self._queues.drop(message["lane"]))

    def _on_close(self, message: Message, _: list[int]) -> None:
        servable = message["servable"]
        self._loop.post(lambda: self._queues.close(servable and ServableId(*servable)))

    def _on_unload(self, message: Message, _: list[int]) -> None:
        servable = ServableId(*message["servable"])

        def unload() -> Message:
            if hasattr(self, "_versions"):  # else this process still boots, and what is meant was the one before's
                self._versions.unload(servable)
            return {}

        self._loop.post(lambda: self._queues.dismiss(servable, lambda: self._job(self._unloading, message, unload)))

    def _on_stop(self, _: Message, __: list[int]) -> None:
        def stop() -> None:
            self._loop.stopping = True

        self._loop.post(stop)


def _failure(code: Code, text: str) -> Message:
    return {"code": int(code), "message": text.encode(errors="replace").decode()}  # a path may hold what is no text


def _threads(flag: int) -> int:
    return max(flag, _THREADS_A_CPU * schedulable_cpus(), _FEWEST_THREADS)
