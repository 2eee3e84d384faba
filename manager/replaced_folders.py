"""Notices that a version's folder is not any more what it was when the version was first aspired."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from manager import storage
from manager.version_policy import Child
from ringserve.errors import ServingError

_REMOTE_SECONDS: Final = 60.0  # between two looks at a remote folder's files: each costs requests to the store


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    identity: tuple[int, int] | None  # device and inode
    fingerprint: str
    due: float  # when to look at a remote one again


class ReplacedFolders:
    """Of one model. A version is read once, when it is loaded, so what comes later in its place is never served."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[int, _Folder] = {}

    def copy(self) -> ReplacedFolders:
        """One that knows as much, for the model's next configuration."""
        other = ReplacedFolders(self._clock)
        other._known = dict(self._known)
        return other

    def check(self, name: str, versions: Iterable[Child]) -> list[str]:
        """What to warn about now that the model `name` has these (version, path) aspired. Blocks."""
        known, self._known = self._known, {}
        warnings = []
        for version, path in versions:
            before = known.get(version)
            try:
                now = self._look(path, before)
            except (OSError, ValueError, ServingError):  # gone again, or out of reach: the next look will tell
                if before is not None:
                    self._known[version] = before
                continue
            self._known[version] = now
            if before is not None and before.fingerprint != now.fingerprint:
                warnings.append(
                    f"Version {version} of servable {name} is not what it was at {before.path}: {path} was replaced or has "
                    "changed. A version is read only once; publish the change under a new number."
                )
        return warnings

    def _look(self, path: str, before: _Folder | None) -> _Folder:
        """A folder may be another and yet the same: some network file systems number their inodes as they go."""
        remote = storage.is_remote(path)
        identity = None
        if not remote:
            facts = os.stat(path)
            identity = (facts.st_dev, facts.st_ino)
        if (
            before is not None
            and before.path == path
            and (self._clock() < before.due if remote else before.identity == identity)
        ):
            return before
        return _Folder(path, identity, storage.fingerprint(path), self._clock() + _REMOTE_SECONDS)
