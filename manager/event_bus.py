"""Events of servable versions, from the manager to whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ringserve.errors import ServingError
from ringserve.servable import ServableId, State


@dataclass(frozen=True, slots=True)
class ServableState:
    """A version has come to this state; `error` says why when it ended badly."""

    id: ServableId
    state: State
    error: ServingError | None = None
    time_ns: int = field(default_factory=time.time_ns)


class EventBus:
    """Calls every subscriber with every event, at once, in the order of subscription."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[ServableState], None]] = []

    def subscribe(self, subscriber: Callable[[ServableState], None]) -> None:
        self._subscribers.append(subscriber)

    def publish(self, event: ServableState) -> None:
        for subscriber in self._subscribers:
            subscriber(event)
