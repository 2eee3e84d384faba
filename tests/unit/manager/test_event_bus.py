"""The event bus: who is called, when, and in which order."""

from __future__ import annotations

import time

from manager.event_bus import EventBus, ServableState
from ringserve.servable import ServableId, State


def test_every_subscriber_gets_every_event_at_once_and_in_order() -> None:
    bus = EventBus()
    heard: list[tuple[str, ServableState]] = []
    bus.subscribe(lambda event: heard.append(("first", event)))
    bus.subscribe(lambda event: heard.append(("second", event)))
    events = [ServableState(ServableId("m", 1), state) for state in (State.START, State.LOADING)]
    for event in events:
        bus.publish(event)
    assert heard == [("first", events[0]), ("second", events[0]), ("first", events[1]), ("second", events[1])]


def test_a_late_subscriber_does_not_hear_what_was() -> None:
    bus = EventBus()
    bus.publish(ServableState(ServableId("m", 1), State.START))
    heard: list[ServableState] = []
    bus.subscribe(heard.append)
    assert heard == []


def test_an_event_carries_the_time_of_its_making() -> None:
    before = time.time_ns()
    event = ServableState(ServableId("m", 1), State.START)
    assert before <= event.time_ns <= time.time_ns()
