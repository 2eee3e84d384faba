"""Handles count who holds a version, and tell once when nobody does any more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.handle import ServableHandle
from ringserve.servable import ServableId


class Shelf:
    """A manager of one version."""

    def __init__(self) -> None:
        self.handle = ServableHandle(ServableId("m", 1), "loaded")
        self.freed: list[str] = []

    def take(self) -> ServableHandle[str]:
        self.handle.holders += 1
        return self.handle


def test_leaving_the_with_gives_it_up_whatever_happened() -> None:
    shelf = Shelf()
    with shelf.take() as servable:
        assert servable == "loaded"
        assert shelf.handle.holders == 1
    with pytest.raises(ZeroDivisionError), shelf.take():
        raise ZeroDivisionError
    assert shelf.handle.holders == 0


def test_retired_while_held() -> None:
    shelf = Shelf()
    with shelf.take():
        other = shelf.take()
        shelf.handle.retire(lambda: shelf.freed.append("first"))
        shelf.handle.retire(lambda: shelf.freed.append("second"))
    assert shelf.freed == []
    other.release()
    assert shelf.freed == ["first", "second"]


def test_retired_while_nobody_holds_it() -> None:
    shelf = Shelf()
    shelf.handle.retire(lambda: shelf.freed.append("now"))
    assert shelf.freed == ["now"]


@given(st.lists(st.sampled_from(["take", "release", "retire"]), max_size=30))
def test_told_once_when_nobody_is_left(steps: list[str]) -> None:
    shelf = Shelf()
    held = retired = 0
    for step in steps:
        if step == "take" and not retired:
            shelf.take()
            held += 1
        elif step == "release" and held:
            shelf.handle.release()
            held -= 1
        elif step == "retire" and not retired:
            shelf.handle.retire(lambda: shelf.freed.append("free"))
            retired = 1
        assert shelf.handle.holders == held
        assert len(shelf.freed) == (retired and not held)
