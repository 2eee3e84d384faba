"""The bells of a worker's local lanes, heard beside its doorbell."""

from __future__ import annotations

import select
from typing import Final

from shm.doorbell import Doorbell
from shm.readiness import wait_readable
from workers.local_lane import LocalLane

_AT_A_TIME: Final = 64


class LocalBells:
    """Of the loop's thread. The doorbell stays a blocking one, and is read when it was rung only."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._epoll: select.epoll | None = None
        self._lanes: dict[int, LocalLane] = {}  # by their bells' descriptors

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self, lane: LocalLane) -> None:
        """Hear this lane's bell until it is dropped."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._epoll.register(self._doorbell.fd, select.EPOLLIN)
        self._lanes[lane.doorbell.fd] = lane
        self._epoll.register(lane.doorbell.fd, select.EPOLLIN)
        lane.left = self._remove

    def _remove(self, lane: LocalLane) -> None:
        assert self._epoll is not None
        del self._lanes[lane.doorbell.fd]
        self._epoll.unregister(lane.doorbell.fd)
        if not self._lanes:
            self._epoll.close()
            self._epoll = None

    def wait(self, timeout: float = -1) -> list[LocalLane]:
        """Sleep until the doorbell or a bell is rung, at most `timeout` seconds if that is not negative.

        Returns the lanes whose client is gone, or has given them up.
        """
        assert self._epoll is not None
        gone = []
        if timeout > 0:
            wait_readable(self._epoll.fileno(), timeout)
            timeout = 0
        for fd, _ in self._epoll.poll(timeout, _AT_A_TIME):
            if fd == self._doorbell.fd:
                self._doorbell.clear()
            elif not (lane := self._lanes[fd]).doorbell.clear():
                gone.append(lane)
        return gone
