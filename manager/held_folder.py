"""Folders that several processes share, each made whole before it gets its name, and removed by nobody who isn't alone."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Final, Self

_logger = logging.getLogger(__name__)

_LOCK: Final = ".ringserve-lock"  # no name that a stranger's folder could have: what has it may be removed
_PARTIAL: Final = ".ringserve-partial"
_MAKING_SECONDS: Final = 3600.0  # a partial folder without a lock is given this long to get one


class HeldFolder:
    """A folder with a lock file in it, of which this object holds a lock: no other process removes the folder.

    The kernel gives the lock back when the process ends, however it ends. A file, not the folder: NFS locks no folders.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def make(cls, path: Path) -> Self:
        """An empty folder beside `path`, to be filled and then renamed to it."""
        while True:
            partial = _partial(path)
            partial.mkdir(mode=0o700)
            try:
                descriptor = os.open(partial / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except FileNotFoundError:  # taken for a dead process's, between two steps
                continue
            if folder := cls._lock(partial, descriptor, fcntl.LOCK_SH):
                return folder

    @classmethod
    def hold(cls, path: Path) -> Self | None:
        """A folder that is there, held together with whoever else holds it; None when it isn't."""
        while True:
            try:
                descriptor = os.open(path / _LOCK, os.O_RDWR)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if folder := cls._lock(path, descriptor, fcntl.LOCK_SH):
                with contextlib.suppress(OSError):  # it only delays the folder's removal by `sweep`
                    os.utime(descriptor)
                return folder

    @classmethod
    def _lock(cls, path: Path, descriptor: int, kind: int) -> Self | None:
        """None when the folder was removed, or another took its name, before the lock was there."""
        try:
            fcntl.flock(descriptor, kind)
            held, there = os.fstat(descriptor), os.stat(path / _LOCK)
            if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino):
                return cls(path, descriptor)
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def rename(self, path: Path) -> bool:
        """Give it its name. False when something has that already."""
        try:
            os.rename(self.path, path)
        except FileExistsError:
            return False
        except OSError:
            if path.exists():
                return False
            raise
        self.path = path
        return True

    def remove(self) -> bool:
        """Remove it, unless somebody else holds it too, and let go in any case."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.path.suffix != _PARTIAL:
                self.rename(_partial(self.path))  # so that a removal cut short leaves nothing that looks whole
            _remove_tree(self.path)
        except BlockingIOError:
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Let go."""
        os.close(self._descriptor)


def sweep(root: Path, unused_seconds: float) -> None:
    """Remove what processes that are no more left half-made, and folders that nobody has held for so long."""
    for path in root.iterdir():
        try:
            _sweep(path, unused_seconds)
        except OSError as error:
            _logger.warning("could not tidy up %s: %s", path, error)


def _sweep(path: Path, unused_seconds: float) -> None:
    partial = path.suffix == _PARTIAL
    unused = _age(path / _LOCK)
    if unused is not None and (partial or unused > unused_seconds):
        _remove_unless_held(path)
    elif unused is None and partial and (_age(path) or 0) > _MAKING_SECONDS:
        _remove_tree(path)


def _age(path: Path) -> float | None:
    """Seconds since it was touched, None when it isn't there."""
    try:
        return time.time() - path.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None


def _remove_unless_held(path: Path) -> None:
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR)
        folder = HeldFolder._lock(path, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return
    if folder is not None:
        folder.remove()


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{_PARTIAL}")


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        _logger.warning("could not remove all of %s", path)
