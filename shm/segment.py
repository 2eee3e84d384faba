"""A sealed, sparse, anonymous piece of shared memory (a memfd) mapped into this process."""

from __future__ import annotations

import fcntl
import mmap
import os

# Sealed against shrinking, a mapping can never fault (SIGBUS) because the other side truncated the file;
# sealed against growing and further seals, nobody can change the deal later.
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def _seals(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:  # not a memfd at all
        return 0


class Segment:
    """Shared memory without a name: nothing to leak in /dev/shm, nothing to guess, no container limit of 64 MB.

    Pages are taken when they are first touched, so a large segment costs address space only.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.map = mmap.mmap(fd, size)

    @classmethod
    def create(cls, name: str, size: int) -> Segment:
        """A new segment of `size` bytes, all zero. `name` shows in /proc/PID/maps only."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return cls(fd, size)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int, size: int) -> Segment:
        """Map a segment that was handed over; takes ownership of `fd`.

        Raises ValueError when the segment is not of the size agreed upon or could still shrink.
        """
        try:
            actual = os.fstat(fd).st_size
            if actual != size:
                raise ValueError(f"shared segment has {actual} bytes, expected {size}")
            if not _seals(fd) & fcntl.F_SEAL_SHRINK:
                raise ValueError("shared segment is not sealed against shrinking")
            return cls(fd, size)
        except BaseException:
            os.close(fd)
            raise

    def give_back(self, start: int, end: int) -> None:
        """Return the whole pages inside bytes [start, end) to the system; they read as zeros again."""
        start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        end = end // mmap.PAGESIZE * mmap.PAGESIZE
        if end > start:
            self.map.madvise(mmap.MADV_REMOVE, start, end - start)

    def close(self) -> None:
        """Drop the file descriptor. The mapping goes when the last view of it is dropped."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
