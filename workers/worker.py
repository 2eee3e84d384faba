"""A worker process: a control thread that does what the supervisor asks, and the loop that serves the lanes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ringserve.channel import Channel, Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from shm.consumer import LaneConsumer
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import Column, LaneSpec
from workers.engine import Engine, Form
from workers.loop import Loop
from workers.probe import Report
from workers.queue import Queue
from workers.queued_lane import QueuedLane
from workers.runner import Runner
from workers.versions import Inputs, Versions, lower_priority

_logger = logging.getLogger(__name__)

_POOL_THREADS: Final = 16  # batches that take long, of all queues together
_BEAT_SECONDS: Final = 1.0


class Worker:
    """Answers the supervisor's messages: load, absent, form, lane, drop_lane, unload, stop."""

    def __init__(self, channel: Channel, doorbell: Doorbell, make_engine: Callable[[], Engine]) -> None:
        self._channel = channel
        self._loop = Loop(doorbell)
        self._make_engine = make_engine
        self._versions: Versions
        self._going: set[ServableId] = set()  # versions that are being unloaded; of the loop's thread
        self._queues: dict[tuple[ServableId, str, Inputs | None], Queue] = {}
        self._batches = ThreadPoolExecutor(_POOL_THREADS, "batch")
        self._loading = ThreadPoolExecutor(1, "load")
        self._probing = ThreadPoolExecutor(1, "probe")  # a lane need not wait for another version's long load
        self._loads = 0
        self._handlers: dict[str, Callable[[Message, list[int]], None]] = {
            "load": self._on_load,
            "absent": self._on_absent,
            "form": self._on_form,
            "lane": self._on_lane,
            "drop_lane": self._on_drop_lane,
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
            self._versions = Versions(self._make_engine())
        except Exception as error:
            if not isinstance(error, ServingError):
                error = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            self._channel.send({"type": "boot_failed", "code": int(error.code), "message": error.message})
            return
        self._channel.send({"type": "ready", "pid": os.getpid()})

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
                answer = {"code": int(error.code), "message": error.message}
            except Exception as error:
                _logger.exception("%s failed in a way it never should", message["type"])
                answer = {"code": int(Code.INTERNAL), "message": f"worker error: {error}"}
            self._channel.send({"type": "answer", "call": message["call"], **answer})

        thread.submit(run)

    def _on_load(self, message: Message, _: list[int]) -> None:
        servable = ServableId(*message["servable"])

        def load() -> Message:
            version = self._versions.load(servable, message["path"])
            self._loop.post(lambda: self._going.discard(servable))
            self._loads += 1
            if self._loads == 1:
                lower_priority()
            signatures = [signature.to_wire() for signature in version.signatures.values()]
            return {"signatures": signatures, "metadata": version.metadata}

        self._job(self._loading, message, load)

    def _on_absent(self, message: Message, _: list[int]) -> None:
        """A version that the worker before held can't be loaded: its requests are to be refused."""
        servable = ServableId(*message["servable"])

        def note() -> Message:
            self._versions.put_absent(servable, message["reason"])
            self._loop.post(lambda: self._going.discard(servable))
            return {}

        self._job(self._loading, message, note)

    def _on_form(self, message: Message, _: list[int]) -> None:
        servable, signature, inputs = _key(message)

        def look() -> Message:
            return report_to_wire(self._report(servable, signature, inputs))

        self._job(self._probing, message, look)

    def _report(self, servable: ServableId, signature: str, inputs: Inputs | None) -> Report:
        if inputs is None:
            return self._versions.declared(servable, signature)
        return self._versions.report(servable, signature, inputs)

    def _on_lane(self, message: Message, fds: list[int]) -> None:
        servable, signature, inputs = _key(message)
        segment, doorbell = fds

        def attach() -> Message:
            try:
                report = self._lane_report(message)
                lane = Lane.attach(os.dup(segment), LaneSpec.from_wire(message["columns"], message["ring_bytes"]))
                queued = QueuedLane.make(message["lane"], LaneConsumer(lane), Doorbell(os.dup(doorbell)))
            finally:
                os.close(segment)
                os.close(doorbell)
            key = (servable, signature, inputs)
            self._loop.post(lambda: self._add_lane(key, report, queued))
            return {}

        self._job(self._probing, message, attach)

    def _lane_report(self, message: Message) -> Report:
        """What the version does with rows of a lane, by the columns that the lane was made with.

        A new worker may find another answer than the one before, under which the lane was made: then its rows are run one
        by one.
        """
        servable, signature, inputs = _key(message)
        form = form_from_wire(message["columns"])
        if self._versions.is_absent(servable):
            return Report(form, False, "the version is not loaded")
        report = self._report(servable, signature, inputs)
        if report.form != form:
            return Report(form, False, "a run on synthetic rows gave outputs of another form than before")
        return report

    def _add_lane(self, key: tuple[ServableId, str, Inputs | None], report: Report, lane: QueuedLane) -> None:
        """In the loop's thread. A lane that comes while its version goes is closed: its front end lets go of it too."""
        version = None if key[0] in self._going else self._versions.find(key[0])
        if version is None:
            lane.drop()
            return
        queue = self._queues.get(key)
        if queue is None:
            runner = Runner(version, key[1], report)
            most = 2 if report.batched else max(2, os.cpu_count() or 1)
            queue = Queue(key[1], report, runner, self._batches, most, self._loop.post)
            self._queues[key] = queue
            self._loop.queues.append(queue)
        queue.lanes.append(lane)
        if lane.suspects:
            self._loop.recover()
        lane.doorbell.ring()  # a worker before may have died between its last answer and the ring

    def _on_drop_lane(self, message: Message, _: list[int]) -> None:
        self._loop.post(lambda: self._drop_lane(message["lane"]))

    def _drop_lane(self, number: int) -> None:
        """In the loop's thread."""
        for queue in self._loop.queues:
            for lane in queue.lanes:
                if lane.number == number:
                    queue.lanes.remove(lane)
                    lane.drop()
                    return

    def _on_unload(self, message: Message, _: list[int]) -> None:
        servable = ServableId(*message["servable"])

        def begin() -> None:
            self._going.add(servable)
            self._unload_when_idle(message, servable)

        self._loop.post(begin)

    def _unload_when_idle(self, message: Message, servable: ServableId) -> None:
        """In the loop's thread: take away one queue after the other, each once nothing of it runs."""
        key = next((key for key in self._queues if key[0] == servable), None)
        if key is not None:
            queue = self._queues.pop(key)
            self._loop.queues.remove(queue)
            queue.when_idle(lambda: self._unload_when_idle(message, servable))
            return

        def unload() -> Message:
            self._versions.unload(servable)
            return {}

        self._job(self._loading, message, unload)

    def _on_stop(self, _: Message, __: list[int]) -> None:
        def stop() -> None:
            self._loop.stopping = True

        self._loop.post(stop)


def _key(message: Message) -> tuple[ServableId, str, Inputs | None]:
    wire = message["inputs"]
    inputs = None if wire is None else inputs_from_wire(wire)
    return ServableId(*message["servable"]), message["signature"], inputs


def inputs_from_wire(wire: Any) -> Inputs:
    return tuple((number, Column(dtype, tuple(shape))) for number, dtype, shape in wire)


def form_from_wire(columns: Any) -> Form | None:
    return Form(inputs_from_wire(columns[0]), inputs_from_wire(columns[1])) if columns else None


def report_to_wire(report: Report) -> Message:
    form = report.form
    columns = None
    if form:
        columns = [[[n, c.dtype, list(c.shape)] for n, c in group] for group in (form.inputs, form.outputs)]
    return {"columns": columns, "batched": report.batched, "reason": report.reason, "most_rows": report.most_rows}
