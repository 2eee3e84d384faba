"""Doorbells of front ends: one each, whatever number of lanes there are to it."""

from __future__ import annotations

import os

from shm.doorbell import Doorbell


class SharedDoorbell(Doorbell):
    """A front end's, for all of its lanes: each of them closes it once, and the last one's close is the real one."""

    __slots__ = ("users",)

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.users = 0

    def close(self) -> None:
        self.users -= 1
        if not self.users:
            super().close()


class FrontEndDoorbells:
    """By the front ends' titles: a front end has the same doorbell for as long as the server runs."""

    def __init__(self) -> None:
        self._open: dict[str, SharedDoorbell] = {}

    def take(self, frontend: str, fd: int) -> Doorbell:
        """The doorbell for one more lane. `fd` is the front end's doorbell: kept if it is needed, else closed."""
        doorbell = self._open.get(frontend)
        if doorbell is None or doorbell.fd < 0:
            doorbell = self._open[frontend] = SharedDoorbell(fd)
        else:
            os.close(fd)
        doorbell.users += 1
        return doorbell
