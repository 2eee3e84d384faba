"""A request in a lane, as whoever submitted it has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from frontend.low_share import Held
from ringserve.errors import ServingError

if TYPE_CHECKING:
    from frontend.open_lane import OpenLane

#: Is told, once, of a request's completion, or of the error that it ends with before.
Tell = Callable[[ServingError | None], None]


class Pending:
    """A request in a lane, or several that were submitted together, from `number` to `last`. Await `future` for its
    completion, then read its answer, then `done` it, whatever happened.

    With `tell` there is no future: it is called instead, in the loop's turn in which the completion is seen. Times are ns of
    CLOCK_MONOTONIC; the batch's, `begun` and `ended`, are there when the request is completed.
    """

    __slots__ = (
        "_future",
        "begun",
        "completed",
        "deadline",
        "ended",
        "given_up",
        "held",
        "lane",
        "last",
        "number",
        "released",
        "rows",
        "submitted",
        "tell",
    )

    def __init__(
        self,
        lane: OpenLane,
        number: int,
        rows: int,
        submitted: int,
        deadline: int,
        tell: Tell | None,
        future: asyncio.Future[None] | None,
        count: int = 1,
        held: Held | None = None,
    ) -> None:
        """`held`: what it holds of the share of requests of low priority, if it is one."""
        self.lane = lane
        self.number = number
        self.last = number + count - 1
        self.rows = rows
        self.submitted = submitted
        self.deadline = deadline
        self.tell = tell
        self.held = held
        self._future = future
        self.given_up = False
        self.completed = False  # its answer may be read
        self.released = False
        self.begun = 0
        self.ended = 0

    @property
    def future(self) -> asyncio.Future[None]:
        assert self._future is not None
        return self._future

    def end(self, error: ServingError | None = None) -> None:
        """Tell whoever waits, if anybody does still."""
        tell = self.tell
        if tell is not None:
            self.tell = None
            tell(error)
        elif self._future is not None and not self._future.done():
            if error is None:
                self._future.set_result(None)
            else:
                self._future.set_exception(error)

    def done(self) -> None:
        """The answer has been read, or nobody waits for it any more: its slot may be used again."""
        if self.completed:
            self.lane.release(self)
        else:
            self.given_up = True
            self.tell = None
            if self._future is not None:
                self._future.cancel()  # nobody is to be told any more, also not one who only looks on
            for number in range(self.number, self.last + 1):
                self.lane.producer.abandon(number)
