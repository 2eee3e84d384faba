"""Version policies: which of the version folders on disk are aspired. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

#: From the folders found, as (version, name of the folder) in any order, those to serve, in the order to emit them.
VersionPolicy = Callable[[Sequence[tuple[int, str]]], list[tuple[int, str]]]

_NUMBER = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*")
_INT64 = 1 << 63


def parse_version(name: str) -> int | None:
    """The version that a folder's name stands for, None when it stands for none: signed decimal that fits 64 bits."""
    if not _NUMBER.fullmatch(name):
        return None
    version = int(name)
    return version if -_INT64 <= version < _INT64 else None


def parse_versions(names: Iterable[str]) -> list[tuple[int, str]]:
    """(version, name) of the names that are versions, in lexicographic order of the names."""
    found = ((parse_version(name), name) for name in sorted(names))
    return [(version, name) for version, name in found if version is not None]


def latest(count: int) -> VersionPolicy:
    """The `count` highest numbers, highest first. Of names for one number the lexicographically last wins."""

    def choose(found: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        unique = {version: name for version, name in sorted(found, key=lambda item: item[1])}
        return sorted(unique.items(), reverse=True)[:count]

    return choose


def every() -> VersionPolicy:
    """All of them, in lexicographic order of their names. Of names for one number the first counts."""

    def choose(found: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        unique: dict[int, str] = {}
        for version, name in sorted(found, key=lambda item: item[1]):
            unique.setdefault(version, name)
        return list(unique.items())

    return choose


def specific(versions: Sequence[int]) -> VersionPolicy:
    """Those of these versions that are there, ascending."""

    def choose(found: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        wanted = set(versions)
        return sorted({version: name for version, name in sorted(found) if version in wanted}.items())

    return choose


def policy_from_proto(message: Any) -> VersionPolicy:
    """Of a FileSystemStoragePathSourceConfig.ServableVersionPolicy; unset means the latest one."""
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return every()
    if choice == "specific":
        return specific(list(message.specific.versions))
    return latest(message.latest.num_versions or 1)
