"""Aspired-version policies: in which order a stream's versions are loaded and unloaded. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from manager.loader_harness import HarnessState
from ringserve.servable import ServableId


class Snapshot(NamedTuple):
    """A version as a policy sees it."""

    id: ServableId
    state: HarnessState
    aspired: bool


class Verb(enum.Enum):
    LOAD = "load"
    UNLOAD = "unload"


class Step(NamedTuple):
    """What to do next."""

    verb: Verb
    id: ServableId


class AspiredVersionPolicy(Protocol):
    def next_step(self, versions: Sequence[Snapshot]) -> Step | None:
        """The next step for one stream, None when there is none now."""


class AvailabilityPreservingPolicy:
    """Load the new version before the old one goes: requests always find one. Upstream's default."""

    def next_step(self, versions: Sequence[Snapshot]) -> Step | None:
        ready = [v for v in versions if v.state is HarnessState.READY]
        unwanted = sorted(v.id for v in ready if not v.aspired)
        wanted_ready = any(v.aspired for v in ready)
        if unwanted and (wanted_ready or len(unwanted) > 1 or not any(v.aspired for v in versions)):
            return Step(Verb.UNLOAD, unwanted[0])
        return _load_highest(versions)


class ResourcePreservingPolicy:
    """Unload what goes before anything new is loaded: less memory is needed, and requests find nothing in between."""

    def next_step(self, versions: Sequence[Snapshot]) -> Step | None:
        unwanted = [v for v in versions if not v.aspired]
        for version in unwanted:
            if version.state is HarnessState.READY:
                return Step(Verb.UNLOAD, version.id)
        if any(v.state not in (HarnessState.DISABLED, HarnessState.ERROR) for v in unwanted):
            return None
        return _load_highest(versions)


def _load_highest(versions: Sequence[Snapshot]) -> Step | None:
    new = [v.id for v in versions if v.aspired and v.state is HarnessState.NEW]
    return Step(Verb.LOAD, max(new)) if new else None


#: By the values of --aspired_version_policy.
POLICIES: Final[Mapping[str, AspiredVersionPolicy]] = {
    "availability_preserving": AvailabilityPreservingPolicy(),
    "resource_preserving": ResourcePreservingPolicy(),
}
