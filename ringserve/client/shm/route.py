"""One signature of a model as callers ask for it, and the lanes that lead there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, Protocol

from ringserve.client.operations import Which
from ringserve.client.shm.declared_rows import Form
from ringserve.client.shm.lane import LaneOverError, ShmLane
from ringserve.client.shm.lane_works import full
from ringserve.client.shm.limit import NO_LIMIT, Limit
from ringserve.client.shm.opening import Opening
from ringserve.errors import Code, ServingError
from ringserve.tensor import DTYPES
from shm.reservation import Reservation

_FORMS_AFTER: Final = 8  # requests of one form before a lane with columns for it is asked for
_MOST_SEEN: Final = 64  # forms that are counted at a time
_MOST_FORMS: Final = 8  # which is all that the server remembers of a signature, too
_MOST_SLOT_LANES: Final = 8
_LOOK_AGAIN: Final = 0.05  # seconds: rows that were given back are free when a last request of theirs is answered


class Opener(Protocol):
    """Where lanes come from."""

    def open(self, message: Mapping[str, Any], opening: Opening[ShmLane]) -> None:
        """Ask for a lane; what comes of it is the opening's result."""


class Route:
    """A base lane carries packed requests of any form, and rows as the signature declares them, if it has columns. For other
    forms that come often there are lanes with columns for them, and slots have lanes of their own: rows that somebody keeps
    would hold up all that come after them.
    """

    def __init__(self, which: Which, signature: str, key: str | None, opener: Opener) -> None:
        model, version, label = which
        self._wanted: dict[str, Any] = {"type": "open", "model": model, "signature": signature}
        named = {"version": version, "label": label, "key": key}
        self._wanted |= {name: value for name, value in named.items() if value is not None}
        self._opener = opener
        self._lock = threading.Lock()
        #: What requests look at first: None, or perhaps one that is over.
        self.base: ShmLane | None = None
        self._forms: dict[Form, ShmLane | None] = {}  # None: the server has no columns for it
        self._openings: dict[Form | None, Opening[ShmLane]] = {}
        self._seen: dict[Form, int] = {}
        self._slots: list[ShmLane] = []
        self._room = threading.Condition(self._lock)  # for slots

    @property
    def usable_base(self) -> ShmLane | None:
        base = self.base
        return base if base is not None and base.usable else None

    @property
    def has_lanes(self) -> bool:
        return self.usable_base is not None or bool(self._openings or self._slots)

    def open_base(self) -> Opening[ShmLane]:
        """Whose result is the base lane."""
        return self._open(None)

    def _open(self, form: Form | None) -> Opening[ShmLane]:
        with self._lock:
            opening = self._openings.get(form)
            if opening is not None:
                return opening
            opening = self._openings[form] = Opening()
        asked: Opening[ShmLane] = Opening()
        self._opener.open({**self._wanted, "inputs": None if form is None else _columns(form)}, asked)
        asked.then(lambda: self._opened(form, opening, asked))
        return opening

    def _opened(self, form: Form | None, opening: Opening[ShmLane], asked: Opening[ShmLane]) -> None:
        result: ShmLane | ServingError
        try:
            result = asked.result(NO_LIMIT)
        except ServingError as error:
            result = error
        unused: list[ShmLane] = []
        with self._lock:
            del self._openings[form]
            if form is not None:
                result = self._add(form, result, unused)
            elif isinstance(result, ShmLane):
                unused += [lane for lane in self._forms.values() if lane is not None and not lane.terms.is_for(result.terms)]
                self._forms = {of: lane for of, lane in self._forms.items() if lane is not None and lane not in unused}
                self._seen.clear()
                self.base = result
        for lane in unused:
            lane.retire()
        opening.end(result)

    def _add(self, form: Form, result: ShmLane | ServingError, unused: list[ShmLane]) -> ShmLane | ServingError:
        """A lane for a form, unless it has no columns, or leads elsewhere than the base lane does by now."""
        base = self.base
        if isinstance(result, ShmLane):
            if result.terms.form == form and base is not None and base.terms.is_for(result.terms):
                self._forms[form] = result
                return result
            unused.append(result)
            if base is None or not base.terms.is_for(result.terms):
                return ServingError(Code.UNAVAILABLE, "The model has another version now")
            result = ServingError(Code.UNIMPLEMENTED, "The signature's rows have no columns")
        if result.code is not Code.UNAVAILABLE:
            self._forms[form] = None
        return result

    def lane_for(self, form: Form) -> ShmLane | None:
        """That has columns for these rows; None: there is none yet, or none to be had."""
        base = self.base
        if base is not None and base.terms.form == form:
            return base
        lane = self._forms.get(form)
        return lane if lane is not None and lane.usable else None

    def note(self, form: Form) -> None:
        """A request of this form came, and there were no columns for it: when they are many, ask for a lane with some."""
        if form in self._forms and self._forms[form] is None:
            return
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()  # forms that come once and never again must not keep the common ones out
        seen = self._seen[form] = self._seen.get(form, 0) + 1
        if seen >= _FORMS_AFTER and self._may_ask(form):
            self._seen[form] = 0
            self._open(form)

    def open_form(self, form: Form) -> Opening[ShmLane] | None:
        """Ask for a lane with columns for these rows now; None: there are none to be had."""
        if form in self._forms and self._forms[form] is None:
            return None
        return self._open(form) if self._may_ask(form) else None

    def _may_ask(self, form: Form) -> bool:
        return form in self._forms or form in self._openings or len(self._forms) + len(self._openings) < _MOST_FORMS

    def reserve(self, rows: int, limit: Limit) -> tuple[ShmLane, Reservation]:
        """Rows as the signature declares them, in a lane for slots. Raises ServingError (UNAVAILABLE) when there is no room.

        Waits for it, within the limit. Only where the base lane has columns for so many rows.
        """
        while True:
            reserved = self._reserve(rows)
            if reserved is not None:
                return reserved
            with self._room:
                if len(self._slots) >= _MOST_SLOT_LANES:
                    if limit.left() == 0:
                        raise full()
                    self._room.wait(_LOOK_AGAIN)
                    continue
            asked: Opening[ShmLane] = Opening()
            self._opener.open({**self._wanted, "inputs": None}, asked)
            lane = asked.result(limit)
            if rows > lane.terms.most_rows:
                lane.retire()
                raise ServingError(Code.UNAVAILABLE, "The model has another version now")
            with self._lock:
                self._slots.append(lane)

    def _reserve(self, rows: int) -> tuple[ShmLane, Reservation] | None:
        with self._lock:
            self._slots = [lane for lane in self._slots if lane.usable]
            slots = list(self._slots)
        for lane in slots:
            try:
                reservation = lane.reserve(rows)
            except LaneOverError:
                continue
            if reservation is not None:
                return lane, reservation
        return None

    def give_back(self, lane: ShmLane, reservation: Reservation) -> None:
        lane.give_back(reservation)
        with self._room:
            self._room.notify_all()

    def forget(self) -> None:
        """In a child of a fork: whoever held the lock need not be here."""
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)


def _columns(form: Form) -> list[Any]:
    """As the server wants rows described."""
    return [[number, DTYPES[number].numpy, list(shape)] for number, shape in form]
