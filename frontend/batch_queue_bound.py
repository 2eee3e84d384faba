"""How many batches of requests may wait in a lane: `max_enqueued_batches`, counted as in TensorFlow Serving's queue.

That is a list of batches, of which the last one is open: a request goes there, or closes it and opens the next. Here the
worker makes the batches, of the requests of all front ends; so these are the batches that this lane's requests would make by
themselves.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ringserve.batching_parameters import BatchingParameters
from ringserve.errors import Code, ServingError

#: Upstream's text for a full queue, which it follows with figures.
QUEUE_FULL: Final = "The batch scheduling queue to which this task was submitted is full"
#: As many requests as anybody has.
UNBOUNDED: Final = 1 << 62


class BatchQueueBound:
    """Of one lane. Requests go by their numbers there; those that the worker has begun do not wait, and their batches do not
    count once all of them are begun. Costs the same for a request, however many wait.
    """

    __slots__ = ("_closed", "_last", "_most", "_rows", "_runs", "_size", "_splits")

    def __init__(self, parameters: BatchingParameters) -> None:
        self._most = parameters.max_enqueued_batches
        self._size = parameters.max_execution_batch_size
        self._splits = parameters.enable_large_batch_splitting
        self._closed: deque[int] = deque()  # of each closed batch, its last request
        # Of the open batch: its rows; its last request; its requests from the oldest on, as (first of several, how many they
        # are, rows of each in this batch).
        self._rows = 0
        self._last = -1
        self._runs: deque[tuple[int, int, int]] = deque()

    def room(self, rows: int, taken: int) -> int:
        """How many requests of so many rows find room; `taken`: the worker has begun those before.

        A request without rows always does. Where requests are not split, none has more rows than a batch.
        """
        self._forget(taken)
        if not rows:
            return UNBOUNDED
        left, batches = self._size - self._rows, max(self._most - self._enqueued, 0)
        if self._splits:
            return (batches * self._size + left) // rows
        return left // rows + batches * (self._size // rows)

    def refusal(self, rows: int) -> ServingError:
        """Of a request for which there was no room."""
        if not self._splits:
            text = f"{QUEUE_FULL}; currently {self._enqueued} batches enqueued and max_enqueued_batches is {self._most}"
            return ServingError(Code.UNAVAILABLE, text)
        capacity = (self._most - self._enqueued) * self._size + self._size - self._rows
        text = f"{QUEUE_FULL}; task size is {rows} but scheduling capacity is only {capacity} "
        text += f"(num_enqueued_batches={self._enqueued}, max_enqueued_batches={self._most}, "
        text += f"open_batch_size={self._rows}, max_execution_batch_size={self._size})"
        return ServingError(Code.UNAVAILABLE, text)

    def add(self, number: int, rows: int, count: int = 1) -> None:
        """So many requests, of so many rows each, are in the lane, the first of them with this number."""
        total = rows * count
        placed = 0
        while placed < total:
            left = self._size - self._rows
            part = min(left if self._splits else left - left % rows, total - placed)
            if part > 0:
                self._place(number, rows, placed, placed + part)
                placed += part
            if placed < total:
                self._close()

    def _place(self, number: int, rows: int, begin: int, end: int) -> None:
        """Into the open batch: those from row `begin` to row `end` of requests that have so many rows each."""
        head = min(-begin % rows, end - begin)  # rows of one whose first ones are in the batch before
        if head:
            self._runs.append((number + begin // rows, 1, head))
        whole = (end - begin - head) // rows  # what is cut off behind them fills the batch, which is closed next
        if whole:
            self._runs.append((number + (begin + head) // rows, whole, rows))
        self._last = number + (end - 1) // rows
        self._rows += end - begin

    def _close(self) -> None:
        self._closed.append(self._last)
        self._runs.clear()
        self._rows = 0

    def _forget(self, taken: int) -> None:
        closed, runs = self._closed, self._runs
        while closed and closed[0] < taken:
            closed.popleft()
        while runs and runs[0][0] < taken:
            first, count, rows = runs.popleft()
            left = max(first + count - taken, 0)
            self._rows -= (count - left) * rows
            if left:
                runs.appendleft((taken, left, rows))

    @property
    def _enqueued(self) -> int:
        """Batches, with the open one."""
        return len(self._closed) + 1
