"""What the kernel says of a server's processes, from /proc."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shm import layout

_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


class Memfd(NamedTuple):
    """A piece of anonymous shared memory: which one, and how much of it really is memory."""

    inode: int
    resident: int


def session(leader: int) -> dict[str, int]:
    """The processes that a server started with a session of its own consists of: their ids by title."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry != str(os.getpid()):
            with suppress(*_GONE):
                if os.getsid(int(entry)) == leader and state(int(entry)) not in "ZX":
                    found[title(int(entry))] = int(entry)
    return found


def state(pid: int) -> str:
    """One letter: R running, S asleep, T stopped, Z ended and not yet collected."""
    return _stat(pid)[0]


def _stat(pid: int) -> list[str]:
    # The name before these fields may hold anything, but nothing behind it holds a parenthesis.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def resident_bytes(pid: int) -> int:
    """Memory that the process has in use, shared memory included."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mapped_files(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}


def memfds(pids: Iterable[int]) -> set[Memfd]:
    """The lanes' memory that these processes hold open."""
    found = set()
    for pid in pids:
        with suppress(*_GONE):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(*_GONE):
                    if os.readlink(entry.path).startswith("/memfd:ringserve"):
                        status = os.stat(entry.path)
                        found.add(Memfd(status.st_ino, status.st_blocks * 512))
    return found


def lane_headers(pid: int) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Label and header words of each lane that the process holds open, as any tool may read them."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        header = b""
        with suppress(*_GONE):  # a descriptor that was closed meanwhile
            path = f"/proc/{pid}/fd/{name}"
            if os.readlink(path).startswith("/memfd:ringserve-lane"):
                with open(path, "rb") as segment:
                    header = segment.read(layout.HEADER_BYTES)
        if header:
            words = memoryview(header).cast("Q").tolist()
            label = header[layout.LABEL : layout.LABEL + words[layout.WORD_LABEL_LENGTH]]
            yield json.loads(label), words


def request_flags(pid: int) -> dict[int, list[int]]:
    """The flags of the requests whose descriptors are still there, of each lane that the process holds open, by inode."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(*_GONE):
            path = f"/proc/{pid}/fd/{name}"
            if os.readlink(path).startswith("/memfd:ringserve-lane"):
                with open(path, "rb") as segment:
                    words = memoryview(segment.read(layout.HEADER_BYTES)).cast("Q").tolist()
                    count = min(words[layout.SUBMITTED], words[layout.WORD_SLOTS])
                    descriptors = np.frombuffer(segment.read(count * layout.DESCRIPTOR_BYTES), layout.DESCRIPTOR)
                    found[os.fstat(segment.fileno()).st_ino] = descriptors["flags"].tolist()
    return found


def answered_in_lanes(pid: int) -> int:
    """Requests whose slots are free again."""
    return sum(words[layout.RELEASED] for _, words in lane_headers(pid))


def requests_in_lanes(pid: int) -> int:
    """Requests whose slots are not free again, over all lanes that the process holds open."""
    return sum(words[layout.SUBMITTED] - words[layout.RELEASED] for _, words in lane_headers(pid))


def all_memfds() -> set[int]:
    """The inodes of all lanes of any server on this machine."""
    return {memfd.inode for memfd in memfds(int(entry) for entry in os.listdir("/proc") if entry.isdigit())}
