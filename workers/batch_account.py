"""What is counted of a batch that has run."""

from __future__ import annotations

from typing import Final

import numpy as np

from workers.batch import Batch
from workers.batch_counters import BatchMeter

_FEW: Final = 16  # requests; where looking at each and array operations cost about the same


def count_batch(meter: BatchMeter, batch: Batch, begun: int, ended: int) -> None:
    """Its size, its times (ns of CLOCK_MONOTONIC), and why it was closed."""
    meter.ran(max(batch.rows, 1), ended - begun)
    meter.batch(batch.closed, batch.rows, batch.executed, max(begun - batch.oldest, 0))
    if batch.is_retried:
        meter.retried()
    if batch.aside:
        meter.merged(batch.aside)


def count_requests(meter: BatchMeter, batch: Batch, begun: int) -> None:
    """Of each of its requests the rows and the time in the queue, which upstream counts where batching is enabled. Before
    they are finished: their descriptors may be others' then.
    """
    waits: list[int] = []
    for part in batch.parts:
        tensors = len(part.lane.sources)
        if part.piece.requests <= _FEW:
            consumer = part.lane.consumer
            for number in range(part.ticket.start, part.ticket.end):
                waits.append(begun - consumer.enqueued(number))
                meter.inputs(consumer.describe(number)[2], tensors)
            continue
        window = part.lane.consumer.described(part.ticket)
        waits += (begun - window["enqueued"].astype(np.int64)).tolist()
        for rows, count in zip(*np.unique(window["rows"], return_counts=True), strict=True):
            meter.inputs(int(rows), tensors * int(count))
    for piece in batch.slices:
        request = piece.request
        if not piece.first and request.error is None:
            waits.append(begun - request.enqueued)
            meter.inputs(request.rows, len(request.tensors or request.lane.sources))
    meter.queued(waits)
