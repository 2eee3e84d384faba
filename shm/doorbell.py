"""A doorbell wakes one process: an eventfd that many may ring and one answers."""

from __future__ import annotations

import os

from shm.readiness import wait_readable


class Doorbell:
    """Rung once per batch or event-loop turn, always: with no "is it asleep" flag there is no lost wake-up."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> Doorbell:
        return cls(os.eventfd(0, os.EFD_CLOEXEC))

    def ring(self) -> None:
        """Wake the process that waits; any number of rings before it wakes count as one."""
        os.eventfd_write(self.fd, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until rung, at most `timeout` seconds; says whether it was rung. A signal's handler may end it early.

        Without a timeout this is one system call, which is why the eventfd is a blocking one.
        """
        if timeout is not None and not wait_readable(self.fd, timeout):
            return False
        try:
            os.eventfd_read(self.fd)
        except InterruptedError:  # the one call of `os` that Python does not repeat by itself
            return False
        return True

    def clear(self) -> None:
        """Take the ring off; call it when the event loop says that the doorbell was rung."""
        os.eventfd_read(self.fd)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
