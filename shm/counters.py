"""Counters of one process, in shared memory: it alone writes them, others read them at any time."""

from __future__ import annotations

import logging
import os
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from shm import counter_entries as layout
from shm.counter_entries import Entry, Key
from shm.fence import fence
from shm.segment import Segment

_logger = logging.getLogger(__name__)

_SIZE: Final = 16 << 20
_MOST_BYTES: Final = 1 << 30
_RESERVE: Final = 8  # one part in so many is for what entries are folded onto: a full table gets room that way
_MASK: Final = (1 << 64) - 1
_READS: Final = 40
_READ_PAUSE: Final = 0.0005  # s; entries change within less than a few

Row = tuple[str, tuple[str, ...], tuple[int, ...]]


class CounterTable:
    """The first call of `cells` or `fold` makes a process the table's writer: it finds the entries of the one before it and
    finishes what that had begun. Whoever only calls `read` changes nothing, and trusts nothing that stands in the table.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._words = memoryview(segment.map).cast("Q")
        self._size = len(self._words)
        self._index: dict[Key, Entry] | None = None  # the writer's
        self._free: dict[int, list[Entry]] = {}  # by their words
        self._is_full = False
        self._read: list[Row] = []
        self._known: list[Entry] = []  # as of the last reading
        self._known_sequence = self._known_end = 0

    @classmethod
    def create(cls, size: int = _SIZE) -> CounterTable:
        """An empty table of `size` bytes, which are taken as they are needed."""
        table = cls(Segment.create("ringserve-counters", size))
        table._clear()
        return table

    @classmethod
    def attach(cls, fd: int) -> CounterTable:
        """Map a table that was handed over; takes ownership of `fd`. Raises ValueError if it is none."""
        size = os.fstat(fd).st_size
        if not layout.FIRST * 8 <= size <= _MOST_BYTES or size % 8:
            os.close(fd)
            raise ValueError(f"a table of counters has no {size} bytes")
        table = cls(Segment.attach(fd, size))
        table.close()  # the mapping has a descriptor of its own
        return table

    @property
    def fd(self) -> int:
        return self._segment.fd

    def close(self) -> None:
        """Drop the file descriptor; the memory goes when the last view of it does."""
        self._segment.close()

    def cells(self, family: str, labels: Sequence[str], count: int) -> memoryview:
        """The `count` 8-byte words of an entry, which is made when there is none, all 0. To be kept: this takes a while.

        In a full table there are no more: what is counted in these words nobody reads.
        """
        entry = self._entry((family, tuple(labels), count), self._size - self._size // _RESERVE)
        if entry is None:
            if not self._is_full:
                self._is_full = True
                _logger.error("the table of counters is full: %s of %s and more are not counted", family, list(labels))
            return memoryview(array("Q", bytes(8 * count)))
        return self._words[entry.first : entry.first + count]

    def entries(self) -> list[tuple[str, tuple[str, ...]]]:
        """Family and labels of all that this process and those before it have counted."""
        return [(family, labels) for family, labels, _ in self._writable()]

    def fold(self, onto: Callable[[str, tuple[str, ...]], tuple[str, ...] | None]) -> None:
        """Give back entries that nobody needs any more.

        `onto` is called with the family and the labels of each: returns the labels that its words are to be added to, the
        same ones where it stays, None where they are forgotten. Nobody may write to `cells` of what is folded afterwards.
        """
        index = self._writable()
        moves = [(key, target) for key in index if (target := onto(key[0], key[1])) != key[1]]
        for key, target in moves:
            if target is None:
                self._change(index[key], None)
            elif into := self._entry((key[0], target, key[2]), self._size):
                self._change(index[key], into)
            else:
                continue
            del index[key]
        self._is_full = False

    def read(self) -> list[Row]:
        """Family, labels and words of every entry. While the writer changes entries, and when it ends amid that, what was
        read before.
        """
        for _ in range(_READS):
            if self._read_once():
                break
            time.sleep(_READ_PAUSE)
        return self._read

    def _read_once(self) -> bool:
        words = self._words
        sequence = words[layout.WORD_SEQUENCE]
        fence()
        end = words[layout.WORD_END]
        if words[layout.WORD_MAGIC] != layout.MAGIC or not layout.FIRST <= end <= self._size:
            self._read = []
            return True
        if sequence % 2:
            return False
        fence()
        # Not a plain copy: that may take words in pieces, while their writer writes them.
        copy = np.add(np.frombuffer(words[:end], dtype=np.uint64), np.uint64(0))
        fence()
        if words[layout.WORD_SEQUENCE] != sequence:
            return False
        if sequence != self._known_sequence or end < self._known_end:
            self._known, self._known_end = [], layout.FIRST
        start = max(self._known_end, layout.FIRST)
        self._known += layout.scan(copy.data, start, end)
        self._known_sequence, self._known_end = sequence, end
        self._read = [
            (key[0], key[1], tuple(copy[first : first + key[2]].tolist())) for _, _, first, key in self._known if key
        ]
        return True

    def _clear(self) -> None:
        words = self._words
        words[layout.JOURNAL] = 0
        words[layout.WORD_END] = layout.FIRST
        words[layout.WORD_VERSION] = layout.VERSION
        words[layout.WORD_MAGIC] = layout.MAGIC  # last: who sees it sees the rest

    def _writable(self) -> dict[Key, Entry]:
        """The entries in use, found in the table the first time."""
        if self._index is not None:
            return self._index
        words = self._words
        self._begin()
        good = words[layout.WORD_MAGIC] == layout.MAGIC and words[layout.WORD_VERSION] == layout.VERSION
        if not good or not layout.FIRST <= words[layout.WORD_END] <= self._size:
            _logger.error("the table of counters was damaged: all of it begins at 0")
            self._clear()
        self._redo()
        self._index = {}
        end = layout.FIRST
        for entry in layout.scan(words, layout.FIRST, words[layout.WORD_END]):
            if entry.key is None or entry.key in self._index or self._is_nonsense(entry, entry.key[2]):
                self._give_back(entry)
            else:
                self._index[entry.key] = entry
            end = entry.at + entry.words
        if end != words[layout.WORD_END]:
            _logger.error("the table of counters was damaged: some begin at 0")
            words[layout.WORD_END] = end
        self._end()
        return self._index

    def _is_nonsense(self, entry: Entry, count: int) -> bool:
        """No counter gets that far, and one that did could not be added to for long."""
        return bool(max(self._words[entry.first : entry.first + count]) >> 63)

    def _begin(self) -> None:
        """From here to `_end` no reader takes what it sees for true."""
        self._words[layout.WORD_SEQUENCE] |= 1
        fence()

    def _end(self) -> None:
        fence()
        self._words[layout.WORD_SEQUENCE] = self._words[layout.WORD_SEQUENCE] + 1 & _MASK

    def _entry(self, key: Key, limit: int) -> Entry | None:
        """The entry of this key, a new one before the word `limit` if need be; None when there is no room."""
        index = self._writable()
        entry = index.get(key)
        if entry is None:
            entry = self._make(key, limit)
            if entry is not None:
                index[key] = entry
        return entry

    def _make(self, key: Key, limit: int) -> Entry | None:
        family, labels, count = key
        if not 0 < count <= layout.MOST_CELLS:
            raise ValueError(f"an entry has 1 to {layout.MOST_CELLS} cells, not {count}")
        text = layout.encode(family, labels)
        needed = layout.HEAD_WORDS + layout.text_words(len(text)) + count
        words = self._words
        # Not one much longer: those of a kind find their own again.
        size = min((size for size in self._free if needed <= size <= 2 * needed), default=0)
        if size:
            at = self._free[size][-1].at
            self._begin()
            self._write(at, text, count)
            self._end()
            self._take(size)
        else:
            size, at = needed, words[layout.WORD_END]
            if at + needed > limit:
                return None
            words[at + layout.ENTRY_WORDS] = needed
            self._write(at, text, count)
            fence()
            words[layout.WORD_END] = at + needed
        return Entry(at, size, at + needed - count, key)

    def _write(self, at: int, text: bytes, count: int) -> None:
        words = self._words
        start = at + layout.HEAD_WORDS
        padded = text + bytes(-len(text) % 8) + bytes(8 * count)
        words[start : start + len(padded) // 8] = memoryview(padded).cast("Q")
        words[at + layout.ENTRY_CELLS] = count
        words[at + layout.ENTRY_TEXT] = len(text)  # last: until then it is free

    def _take(self, size: int) -> None:
        self._free[size].pop()
        if not self._free[size]:
            del self._free[size]

    def _give_back(self, entry: Entry) -> None:
        self._words[entry.at + layout.ENTRY_TEXT] = 0
        self._free.setdefault(entry.words, []).append(entry._replace(key=None))

    def _change(self, entry: Entry, into: Entry | None) -> None:
        """Add an entry's words to another's, if any, and free it."""
        self._begin()
        if into is not None:
            words = self._words
            assert entry.key is not None
            count = entry.key[2]
            for n in range(count):
                words[layout.JOURNAL_SUMS + n] = words[entry.first + n] + words[into.first + n] & _MASK
            words[layout.JOURNAL + 1 : layout.JOURNAL_SUMS] = memoryview(array("Q", (entry.at, into.first, count)))
            fence()
            words[layout.JOURNAL] = 1
            self._redo()
        self._give_back(entry)
        self._end()

    def _redo(self) -> None:
        """What the journal says, if anything: done once or twice, it comes to the same."""
        words = self._words
        is_set, at, first, count = words[layout.JOURNAL : layout.JOURNAL_SUMS].tolist()
        end = words[layout.WORD_END]
        inside = layout.FIRST <= at < end - layout.HEAD_WORDS and layout.FIRST <= first <= end - count
        if is_set and inside and count <= layout.MOST_CELLS:
            words[first : first + count] = words[layout.JOURNAL_SUMS : layout.JOURNAL_SUMS + count]
            words[at + layout.ENTRY_TEXT] = 0
        words[layout.JOURNAL] = 0
