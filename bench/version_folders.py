"""A model's base path whose version folders come and go while a server watches it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path


class VersionFolders:
    """Versions are copies of one exported folder. Each appears whole, by one rename, and disappears the same way."""

    def __init__(self, base: Path, source: Path) -> None:
        self.base = base
        self._source = source
        base.mkdir(parents=True, exist_ok=True)

    def publish(self, version: int) -> float:
        """Make the version appear: the time (monotonic, s) just before the rename. Raises OSError when it is there."""
        scratch = self._scratch(version)
        shutil.copytree(self._source, scratch, copy_function=_link_or_copy)
        began = time.monotonic()
        scratch.rename(self.base / str(version))
        return began

    def withdraw(self, version: int) -> None:
        """Make the version disappear. Raises FileNotFoundError when it is not there."""
        scratch = self._scratch(version)
        (self.base / str(version)).rename(scratch)
        shutil.rmtree(scratch)

    def _scratch(self, version: int) -> Path:
        return self.base / f".{version}"  # not a number: servers never take it for a version


def _link_or_copy(source: str, target: str) -> None:
    """A second name for the same file, where the file system gives one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
