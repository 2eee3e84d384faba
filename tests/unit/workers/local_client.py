"""A local client and its lane, joined to a worker's loop in this process; what it does to the lane is up to the test."""

from __future__ import annotations

import os

from queue_rig import FORM, SPEC, Front, Rig
from small_version import LIMIT

from ringserve.signature import DEFAULT_SIGNATURE
from shm.bell import Bell
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import LaneSpec
from workers.engine import Form, LoadedVersion
from workers.limits import Limits
from workers.local_consumer import LocalConsumer
from workers.local_lane import LocalLane
from workers.local_meter import LocalMeter
from workers.loop import Loop
from workers.queue import Queue

MOST_BYTES = 1 << 13


class Client(Front):
    """Submits and reads answers as a front end does; its bell is a socket's end."""

    def __init__(self, spec: LaneSpec = SPEC) -> None:
        super().__init__(spec)
        self.bell.close()
        self.spec = spec
        self._bell, self.far = Bell.pair()
        self.lanes: list[LocalLane] = []  # as the worker has them, one after the other

    @property
    def lane_now(self) -> LocalLane:
        return self.lanes[-1]

    def ring(self) -> None:
        self._bell.ring()

    def hears(self, timeout: float) -> bool:
        return self._bell.wait(timeout)

    @property
    def is_gone(self) -> bool:
        """Has the worker let go of the bell?"""
        return self.hears(0) and not self._bell.clear()

    def opened(self, version: LoadedVersion, meter: LocalMeter | None = None) -> LocalLane:
        """The worker's side of the lane, as new."""
        mapped = Lane.attach(os.dup(self.lane.segment.fd), self.spec)
        consumer = LocalConsumer(mapped, MOST_BYTES)
        bell = Bell(os.dup(self.far.fd))
        signature = version.signatures[DEFAULT_SIGNATURE]
        self.lanes.append(LocalLane.open(len(self.lanes), consumer, bell, signature, self.spec.rows // 2, meter))
        return self.lane_now

    @property
    def bell_fd(self) -> int:
        return self._bell.fd

    def join(
        self, loop: Loop, queue: Queue, version: LoadedVersion, meter: LocalMeter | None = None, *, keep_bell: bool = False
    ) -> LocalLane:
        """Hand the lane to the loop, in its thread. The bell's other end is the worker's alone then, unless it is kept so
        that the lane can be opened anew.
        """
        lane = self.opened(version, meter)
        if not keep_bell:
            self.far.close()
        loop.put(lane, queue)
        return lane

    def hang_up(self) -> None:
        self._bell.close()

    def close(self) -> None:
        self.hang_up()
        self.far.close()
        if self.lane.segment.fd >= 0:
            self.lane.close()


class LocalRig(Rig):
    """A rig with one front end, and a client of its own lane to the same queue."""

    def __init__(
        self,
        version: LoadedVersion,
        *,
        form: Form | None = FORM,
        spec: LaneSpec = SPEC,
        most_rows: int = 32,
        seconds: float = 1e-5,
        counts: LocalMeter | None = None,
        keep_bell: bool = False,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(version, form=form, spec=spec, most_rows=most_rows, seconds=seconds, limits=limits)
        self._loop_bell = Doorbell.create()
        self.loop = Loop(self._loop_bell)
        self.loop.add(self.queue)
        self.queue._post = self.loop.post  # runs that take long, as any may on a busy machine, end in the loop
        self.client = Client(spec)
        self.local = self.client.join(self.loop, self.queue, version, counts, keep_bell=keep_bell)
        self.fronts.append(self.client)  # closed with the others

    def __exit__(self, *_: object) -> None:
        super().__exit__(None, None, None)
        self._loop_bell.close()

    def begin(self) -> int:
        """Turns of the loop until there is nothing more to begin; says how many."""
        count = 0
        while self.loop.turn():
            count += 1
        return count

    def turns(self, now: int = 0) -> int:
        """Turns of the loop, at the time that it is, until nothing runs; says how many."""
        count = self.begin()
        while self.queue.in_flight:
            assert self.loop.doorbell.wait(LIMIT)
            count += self.begin()
        return count
