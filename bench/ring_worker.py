"""A real worker process with a model, and a lane to it whose front-end side is in this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes, Route
from manager.model_config import TENSORFLOW
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import Column, LaneSpec
from shm.producer import LaneProducer

_RING_BYTES: Final = 1 << 26  # for packed requests, of which the benchmark sends none
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Joined:
    """What a front end has of a worker: the lane, its own doorbell and the worker's."""

    producer: LaneProducer
    doorbell: Doorbell
    worker: Doorbell
    pid: int  # of the worker


@contextmanager
def joined_worker(model: Path) -> Iterator[Joined]:
    """Start a worker as the supervisor does, load version 1 of `model`, and join a lane to it.

    The event loop runs while the worker is started and stopped, never in between: what is measured is free of it.
    """
    worker, frontend = WorkerProcess("cpu:0"), _LocalFrontEnd()
    with asyncio.Runner() as runner:
        try:
            yield runner.run(asyncio.wait_for(_join(worker, frontend, model), _START_SECONDS))
        finally:
            runner.run(worker.stop(_STOP_SECONDS))
            for process in (frontend, worker):
                process.doorbell.close()
                process.counters.close()


async def _join(worker: WorkerProcess, frontend: _LocalFrontEnd, model: Path) -> Joined:
    lanes = Lanes(_RING_BYTES)
    options = ServerOptions(model_base_path=str(model), log_level="warning")
    keeper = asyncio.get_running_loop().create_task(worker.serve(options, lanes.restore, lambda *_: None))
    ready = asyncio.ensure_future(worker.ready.wait())
    await asyncio.wait([keeper, ready], return_when=asyncio.FIRST_COMPLETED)
    if keeper.done():
        keeper.result()
    servable = ServableId(model.name, 1)
    path = str(model / "1")
    await worker.load(servable, {"type": "load", "servable": servable, "path": path, "platform": TENSORFLOW, "options": {}})
    await lanes.make(frontend, worker, Route(servable, DEFAULT_SIGNATURE))
    return Joined(frontend.producer, frontend.doorbell, worker.doorbell, worker.pid)


class _LocalFrontEnd(FrontEndProcess):
    """A front end without a process: the lane that is handed to it stays in this one."""

    producer: LaneProducer

    def __init__(self) -> None:
        super().__init__("bench", 0)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        assert message["type"] == "lane", message
        inputs, outputs = message["columns"]
        spec = LaneSpec.for_columns(_columns(inputs), _columns(outputs), ring_bytes=message["ring_bytes"])
        self.producer = LaneProducer(Lane.attach(os.dup(fds[0]), spec))


def _columns(wire: Any) -> tuple[Column, ...]:
    return tuple(Column(dtype, tuple(shape)) for _, dtype, shape in wire)
