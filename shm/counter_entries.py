"""The layout of a counter table in shared memory, and its entries, read without trust in what they say.

A table is a header page and entries, one behind the other, all of 8-byte words::

    word 0: magic   1: version   2: end, in words: what lies before it is written   3: sequence, odd while entries change
    word 8: journal: 1 while one entry is added to another; where that entry lies, the other's first cell, how many, the sums
    word 512: first entry

    entry: words it takes, these included | bytes of its text, 0: it is free | cells | text, padded to 8 bytes | cells

The text is JSON: a list of the family and the labels. All but the cells of an entry that is in use changes only while the
sequence is odd, apart from new entries behind the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

MAGIC: Final = int.from_bytes(b"RINGCNTR", "little")
VERSION: Final = 1
WORD_MAGIC: Final = 0
WORD_VERSION: Final = 1
WORD_END: Final = 2
WORD_SEQUENCE: Final = 3
JOURNAL: Final = 8
JOURNAL_SUMS: Final = JOURNAL + 4
FIRST: Final = 512
MOST_CELLS: Final = FIRST - JOURNAL_SUMS

HEAD_WORDS: Final = 3
ENTRY_WORDS: Final = 0
ENTRY_TEXT: Final = 1
ENTRY_CELLS: Final = 2

Key = tuple[str, tuple[str, ...], int]


class Entry(NamedTuple):
    """Where an entry lies, in words, and what it counts: family, labels and number of cells; None when it is free."""

    at: int
    words: int
    first: int  # cell
    key: Key | None


def encode(family: str, labels: Sequence[str]) -> bytes:
    """Any text: names that clients sent may hold half a surrogate pair."""
    return json.dumps([family, *labels], ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _decode(text: bytes) -> list[str]:
    """Raises ValueError for what `encode` does not write."""
    try:
        found = json.loads(text.decode("utf-8", "surrogatepass"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(found, list) or not found or not all(isinstance(part, str) for part in found):
        raise ValueError("not a list of texts")
    return found


def text_words(length: int) -> int:
    return -(-length // 8)


def scan(words: memoryview, start: int, end: int) -> Iterator[Entry]:
    """The entries in [start, end), given the whole table's words. Ends before one that can't be; one whose text or cells
    can't be is like a free one.
    """
    at = start
    while at + HEAD_WORDS <= end:
        size = words[at]
        if size < HEAD_WORDS or at + size > end:
            return
        length, count = words[at + ENTRY_TEXT], words[at + ENTRY_CELLS]
        first = at + HEAD_WORDS + text_words(length)
        key: Key | None = None
        if length and 0 < count <= MOST_CELLS and first + count <= at + size:
            try:
                family, *labels = _decode(words[at + HEAD_WORDS : first].tobytes()[:length])
                key = (family, tuple(labels), count)
            except ValueError:
                pass
        yield Entry(at, size, first, key)
        at += size
