"""A lane to a worker, as the threads of a client use it together."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from ringserve.client.failures import cancelled
from ringserve.client.shm.lane_works import LaneWorks, full
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.shm.watch import Watch
from ringserve.client.shm.work import Work
from ringserve.errors import Code, ServingError
from shm.bell import Bell
from shm.lane import Lane
from shm.producer import LaneProducer
from shm.reservation import Reservation

_LONGEST_MS: Final = 1e9  # that a poll may wait


class LaneOverError(Exception):
    """Nothing may be submitted to this lane any more: there is another one to be had."""


def worker_ended() -> ServingError:
    return ServingError(Code.UNAVAILABLE, "The worker ended")


class ShmLane:
    """One thread at a time listens to the lane's bell and settles whatever is answered: the leader. That is a thread that
    waits for an answer itself, so that it gets it without another one's help; when it leaves, another one that waits takes
    its place, or the watch, where works have to be told. Then comes the next waiting thread, and takes the watch's place.

    A work is settled once, with the lock held; whoever did it delivers it, without the lock.
    """

    def __init__(
        self, terms: LaneTerms, lane: Lane, bell: Bell, watch: Watch, on_drained: Callable[[ShmLane], None]
    ) -> None:
        """`on_drained`: nothing more may be submitted, and all is answered; or its other end is closed."""
        self.terms = terms
        self.usable = True  # nobody has said yet that nothing may be submitted; only the lock makes it certain
        self.used = 0  # when, in ns of CLOCK_MONOTONIC
        self._producer = LaneProducer(lane)
        self._bell = bell
        self._poll = select.poll()
        self._poll.register(bell.fd, select.POLLIN)
        self._watch = watch
        self._on_drained = on_drained
        self._lock = threading.Lock()
        self._works = LaneWorks(self._producer)
        self._leader: Work | Watch | None = None
        self._followers: deque[Work] = deque()
        self._reservations = 0
        self._dropped: deque[Reservation] = deque()  # to be given back
        self._over = False  # nothing is in it any more, nor will be
        self._shut = False
        watch.add(self)

    @property
    def fd(self) -> int:
        return self._bell.fd

    @property
    def idle(self) -> bool:
        """No request of it is under way."""
        return self._works.idle

    @property
    def has_reservations(self) -> bool:
        return self._reservations > len(self._dropped)

    def submit(self, work: Work) -> None:
        """Put it into the lane, or have it wait for room there. Raises LaneOverError, and ServingError (UNAVAILABLE) where
        too many that are to be told wait already.
        """
        now = time.monotonic_ns()
        settled: Sequence[Work] = ()
        accepted = True
        with self._lock:
            if not self.usable:
                raise LaneOverError
            self.used = now
            works = self._works
            if not works.put(work, now):
                settled = works.collect()  # what nobody has waited for any more
                accepted = works.queue(work, now)
            self._bell.ring()
            if self._leader is None and works.to_tell:
                self._hand_over()
        _deliver(settled)
        if not accepted:
            raise full()
        self._watch.keep_beating()
        if work.tell is not None:
            self._watch.look_at(work.deadline)

    def wait(self, work: Work) -> None:
        """Until it is settled or late, which settles it."""
        try:
            while not work.settled:
                if not (self._lead(work) if self._may_lead(work) else self._follow(work)):
                    self.give_up(work, work.limit.late())
        except BaseException:  # of a signal's handler: others that wait must not be left without a leader
            with self._lock:
                if self._leader is work or self._leader is None:
                    self._leader = None
                    self._hand_over()
            self.give_up(work, cancelled())
            raise

    def _may_lead(self, work: Work) -> bool:
        """Become the leader, or else a follower."""
        with self._lock:
            if self._leader is self._watch:
                self._watch.leave(self)
            elif self._leader is not None:
                if work.waker is None:
                    work.waker = SimpleQueue()
                self._followers.append(work)
                return False
            self._leader = work
            return True

    def _lead(self, work: Work) -> bool:
        """Listen until the work is settled, or its time is over: False."""
        try:
            while not work.settled:
                left = _LONGEST_MS if not work.deadline else (work.deadline - time.monotonic_ns()) / 1e6
                if left <= 0:
                    return False
                if self._poll.poll(min(left, _LONGEST_MS)):
                    self._hear(work)
            return True
        finally:
            with self._lock:
                self._leader = None
                self._hand_over()

    def _follow(self, work: Work) -> bool:
        """Wait until another one says that the work is settled, or that it has to lead now. False: its time is over."""
        assert work.waker is not None
        if work.settled:  # between two looks
            return True
        try:
            work.waker.get(timeout=work.limit.left())
        except Empty:
            with self._lock:
                with suppress(ValueError):
                    self._followers.remove(work)
                if self._leader is None:  # it was this one's turn
                    self._hand_over()
            return work.settled
        return True

    def _hand_over(self) -> None:
        """There is no leader: find one, if one is needed. With the lock."""
        if self._over:
            self._bury()
            return
        while self._followers:
            work = self._followers.popleft()
            if not work.settled:
                assert work.waker is not None
                work.waker.put(None)
                return
        if self._works.to_tell or (not self.usable and not self.idle):
            self._leader = self._watch
            self._watch.listen(self)

    def _hear(self, listener: Work | Watch) -> None:
        """The bell was rung: settle what is answered."""
        with self._lock:
            if self._leader is not listener:
                return  # who has taken its place must not sleep through what it would take off the bell
            alive = self._bell.clear()
            settled = self._works.collect()
            if self._works.has_waiting:
                self._make_use_of_room()
        _deliver(settled)
        if not alive:
            self.gone()
        elif not self.usable:
            self._end_if_drained()

    def _make_use_of_room(self) -> None:
        """With the lock."""
        self._works.make_use_of_room(time.monotonic_ns())
        self._bell.ring()

    def give_up(self, work: Work, error: ServingError) -> None:
        """Nobody waits for its answer any more. Without effect on one that is settled."""
        with self._lock:
            settled = self._works.give_up(work, error)
        if settled:
            work.deliver()

    def reserve(self, rows: int) -> Reservation | None:
        """Rows to be written in place; None: no room for them now. Raises LaneOverError."""
        with self._lock:
            if not self.usable:
                raise LaneOverError
            self.used = time.monotonic_ns()
            while self._dropped:
                self._give_back(self._dropped.popleft())
            reservation = self._producer.reserve(rows)
            self._reservations += reservation is not None
            return reservation

    def give_back(self, reservation: Reservation) -> None:
        """As soon as its last request is answered."""
        with self._lock:
            self._give_back(reservation)

    def drop(self, reservation: Reservation) -> None:
        """Give it back before the next one is made. In any thread, at any moment: it takes no lock."""
        self._dropped.append(reservation)

    def _give_back(self, reservation: Reservation) -> None:
        """With the lock."""
        self._reservations -= 1
        if not self._over:
            self._producer.give_back(reservation)

    def retire(self) -> None:
        """Nothing more is to be submitted."""
        with self._lock:
            self.usable = False
            if self._leader is None:
                self._hand_over()
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        with self._lock:
            if self._over or not self.idle:
                return
            self._end()
        self._on_drained(self)

    def _end(self) -> None:
        """With the lock."""
        self.usable = False
        self._over = True
        if self._leader is None or self._leader is self._watch:
            self._leader = None
            self._bury()

    def _bury(self) -> None:
        if not self._shut:
            self._shut = True
            self._watch.bury(self)

    def fail(self, error: ServingError) -> None:
        """All that has no answer yet. Nothing more may be submitted."""
        with self._lock:
            if self._over:
                return
            settled = self._works.fail(error)
            if self._leader is not None and self._leader is not self._watch:
                _wake_up(self._bell)
            self._end()
        _deliver(settled)

    # What the watch tells it.

    def heard(self) -> None:
        self._hear(self._watch)

    def gone(self) -> None:
        self.fail(worker_ended())
        self._on_drained(self)

    def expire(self, now: int) -> int:
        with self._lock:
            timed = [work for work in self._works.unsettled() if work.tell is not None and work.deadline]
            overdue = [work for work in timed if work.deadline <= now]
        for work in overdue:
            self.give_up(work, work.limit.late())
        return min([work.deadline for work in timed if work.deadline > now], default=0)

    def beat(self, now: int) -> bool:
        with self._lock:
            if self._over:
                return False
            settled = self._works.collect()
            if self._works.has_waiting:
                self._make_use_of_room()
            self._producer.beat(now)
            busy = not self.idle
        _deliver(settled)
        return busy

    def shut(self) -> None:
        self._bell.close()

    def forget(self) -> None:
        """In a child of a fork: the lane is the parent's. Whoever held the lock need not be here."""
        self._lock = threading.Lock()
        self.usable = False
        self._over = self._shut = True
        self._bell.close()


def _deliver(works: Sequence[Work]) -> None:
    for work in works:
        work.deliver()


def _wake_up(bell: Bell) -> None:
    """Its leader, who sleeps and is to see that the lane has ended."""
    with suppress(OSError), socket.socket(fileno=os.dup(bell.fd)) as ours:
        ours.shutdown(socket.SHUT_RDWR)
