"""Version policies: which of the version folders found are aspired. Pure, and comparable: equal ones choose the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

#: A version with its folder's name as spelled: (17, "00017").
Child: TypeAlias = tuple[int, str]

_NUMBER = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*")
_INT64 = 1 << 63
_LONGEST_NAME = 1024  # of the stores that there are; a name without end is not for int() to read


def is_version(number: object) -> bool:
    """Can this be a version's number: an integer of 64 bits?"""
    return isinstance(number, int) and not isinstance(number, bool) and -_INT64 <= number < _INT64


def parse_version(name: str) -> int | None:
    """The version that a folder's name stands for, None when it stands for none: signed decimal that fits 64 bits."""
    if len(name) > _LONGEST_NAME or not _NUMBER.fullmatch(name):
        return None
    version = int(name)
    return version if is_version(version) else None


def parse_versions(names: Iterable[str]) -> list[Child]:
    """(version, name) of the names that are versions, in lexicographic order of the names."""
    found = ((parse_version(name), name) for name in sorted(names))
    return [(version, name) for version, name in found if version is not None]


def ignored(found: Iterable[Child], chosen: Iterable[Child]) -> list[tuple[Child, str]]:
    """Each version chosen that has other names too, with such a name: (17, "17") with "00017"."""
    names = dict(chosen)
    return [((version, names[version]), name) for version, name in found if version in names and name != names[version]]


@dataclass(frozen=True, slots=True)
class LatestPolicy:
    """The `count` highest numbers, highest first. Of names for one number the lexicographically last wins."""

    count: int = 1

    def __call__(self, found: Sequence[Child]) -> list[Child]:
        unique = {version: name for version, name in sorted(found, key=lambda child: child[1])}
        return sorted(unique.items(), reverse=True)[: self.count]

    def __str__(self) -> str:
        return f"latest {self.count}"


@dataclass(frozen=True, slots=True)
class AllPolicy:
    """All of them, in lexicographic order of their names. Of names for one number the first counts."""

    def __call__(self, found: Sequence[Child]) -> list[Child]:
        unique: dict[int, str] = {}
        for version, name in sorted(found, key=lambda child: child[1]):
            unique.setdefault(version, name)
        return list(unique.items())

    def __str__(self) -> str:
        return "all"


@dataclass(frozen=True, slots=True)
class SpecificPolicy:
    """Those of these versions that are there, ascending. Of names for one number the lexicographically last wins."""

    versions: tuple[int, ...]

    def __call__(self, found: Sequence[Child]) -> list[Child]:
        return sorted({version: name for version, name in sorted(found) if version in self.versions}.items())

    def missing(self, chosen: Iterable[Child]) -> list[int]:
        """Those that were not found, as configured, each once."""
        there = {version for version, _ in chosen}
        return [version for version in dict.fromkeys(self.versions) if version not in there]

    def __str__(self) -> str:
        return " ".join(map(str, ("specific", *self.versions)))


VersionPolicy: TypeAlias = LatestPolicy | AllPolicy | SpecificPolicy


def policy_from_proto(message: Any) -> VersionPolicy:
    """Of a FileSystemStoragePathSourceConfig.ServableVersionPolicy; unset means the latest one."""
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return AllPolicy()
    if choice == "specific":
        return SpecificPolicy(tuple(message.specific.versions))
    return LatestPolicy(message.latest.num_versions or 1)
