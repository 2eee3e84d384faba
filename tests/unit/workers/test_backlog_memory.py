"""Requests that have left the backlog are gone from it: a lane's memory, and their inputs, go with them."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

from workers.backlog import Backlog
from workers.limits import Limits


@dataclass(eq=False)
class Asked:
    key: str
    low: bool = False
    rows: int = 1
    nbytes: int = 0
    enqueued: int = 1
    deadline: int = 0
    taken: int = 0
    is_gone: bool = False


def test_what_has_run_is_let_go() -> None:
    backlog: Backlog[Asked] = Backlog(Limits(2, by_parameters=True))
    requests = [Asked(key, low) for key in ("a", "b", "c") for low in (False, True, False)]
    for request in requests:
        backlog.add(request)
    alive = [weakref.ref(request) for request in requests]
    del request, requests
    while len(backlog):
        assert backlog.next(1_000_000_000).batch
    gc.collect()
    assert [one() for one in alive] == [None] * len(alive)


def test_what_is_forgotten_is_let_go_while_others_wait() -> None:
    backlog: Backlog[Asked] = Backlog(Limits(8, by_parameters=True, timeout=10**12))
    stays, goes = Asked("a"), [Asked("a"), Asked("b"), Asked("a", low=True)]
    for request in (stays, *goes):
        backlog.add(request)
    alive = [weakref.ref(request) for request in goes]
    del request, goes
    backlog.forget(lambda one: one is not stays)
    gc.collect()
    assert [one() for one in alive] == [None] * len(alive)
    assert len(backlog) == 1
