"""A lane mapped into this process: its cursors, descriptors, batch records, columns and rings as views."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from shm import layout
from shm.layout import LaneSpec
from shm.segment import Segment

Array = npt.NDArray[Any]


def _label_text(label: dict[str, Any]) -> bytes:
    """As many entries of the label as have room, whole ones, from the first."""
    entries = list(label.items())
    while len(text := json.dumps(dict(entries)).encode()) > layout.HEADER_BYTES - layout.LABEL:
        entries.pop()
    return text


class Lane:
    """One front end, one worker, one kind of request: who may write what stands in `shm.layout`."""

    def __init__(self, segment: Segment, spec: LaneSpec) -> None:
        self.segment = segment
        self.spec = spec
        whole = memoryview(segment.map)
        #: The header as 8-byte words. Assigning one is a single aligned store: no reader sees half of it.
        self.words = whole[: layout.HEADER_BYTES].cast("Q")
        start, end = spec.descriptors_offset, spec.descriptors_offset + spec.slots * layout.DESCRIPTOR_BYTES
        self.descriptor_bytes = whole[start:end]
        self.descriptor_words = self.descriptor_bytes.cast("Q")
        self.descriptors: Array = np.frombuffer(self.descriptor_bytes, dtype=layout.DESCRIPTOR)
        self.batches = whole[spec.batches_offset : spec.batches_offset + spec.slots * layout.BATCH_BYTES]
        columns = [
            self._column(index, column.dtype, column.shape) for index, column in enumerate(spec.inputs + spec.outputs)
        ]
        self.inputs: list[Array] = columns[: len(spec.inputs)]
        self.outputs: list[Array] = columns[len(spec.inputs) :]
        self.requests = whole[spec.requests_offset : spec.requests_offset + spec.request_bytes]
        self.answers = whole[spec.answers_offset : spec.answers_offset + spec.answer_bytes]

    def _column(self, index: int, dtype: str, shape: tuple[int, ...]) -> Array:
        rows = self.spec.rows
        count = rows * int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(self.segment.map, dtype=dtype, count=count, offset=self.spec.column_offsets[index])
        return flat.reshape((rows, *shape))

    @classmethod
    def create(cls, spec: LaneSpec, label: dict[str, Any]) -> Lane:
        """A new lane with an empty history; `label` (JSON) says to tools what it carries."""
        lane = cls(Segment.create("ringserve-lane", spec.size), spec)
        text = _label_text(label)
        lane.segment.map[layout.LABEL : layout.LABEL + len(text)] = text
        words = lane.words
        words[layout.WORD_SIZE] = spec.size
        words[layout.WORD_SLOTS] = spec.slots
        words[layout.WORD_ROWS] = spec.rows
        words[layout.WORD_REQUEST_BYTES] = spec.request_bytes
        words[layout.WORD_ANSWER_BYTES] = spec.answer_bytes
        words[layout.WORD_CREATED] = time.monotonic_ns()
        words[layout.WORD_LABEL_LENGTH] = len(text)
        words[layout.WORD_VERSION] = layout.VERSION
        words[layout.WORD_MAGIC] = layout.MAGIC  # last: who sees it sees the rest
        return lane

    @classmethod
    def attach(cls, fd: int, spec: LaneSpec) -> Lane:
        """Map a lane handed over by the supervisor; takes ownership of `fd`. Raises ValueError if it is none."""
        lane = cls(Segment.attach(fd, spec.size), spec)
        lane.close()  # the mapping has a descriptor of its own
        lane.check()
        return lane

    def check(self) -> None:
        """Raises ValueError when the header is not that of a lane of this specification."""
        words, spec = self.words, self.spec
        if words[layout.WORD_MAGIC] != layout.MAGIC or words[layout.WORD_VERSION] != layout.VERSION:
            raise ValueError("shared segment is not a lane of this version")
        sizes = spec.slots, spec.rows, spec.request_bytes, spec.answer_bytes
        if tuple(words[layout.WORD_SLOTS : layout.WORD_ANSWER_BYTES + 1]) != sizes:
            raise ValueError("shared segment's sizes differ from the lane's specification")

    @property
    def label(self) -> dict[str, Any]:
        length = self.words[layout.WORD_LABEL_LENGTH]
        text = self.segment.map[layout.LABEL : layout.LABEL + min(length, layout.HEADER_BYTES - layout.LABEL)]
        label: dict[str, Any] = json.loads(text)
        return label

    def claim(self, pid_word: int) -> None:
        """Note this process as the one on its side of the lane."""
        self.words[pid_word] = os.getpid()

    def close(self) -> None:
        """Drop the file descriptor; the memory goes when the last view of it does."""
        self.segment.close()
