"""Counter tables: what is counted is read, by others, after restarts, while entries are folded, and from damaged tables."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm import counter_entries as layout
from shm import counters
from shm.counters import CounterTable
from shm.segment import Segment

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 30
SMALL = 1 << 16

Model = dict[tuple[str, tuple[str, ...]], list[int]]


@pytest.fixture
def table() -> Iterator[CounterTable]:
    table = CounterTable.create(SMALL)
    yield table
    table.close()


def successor(table: CounterTable) -> CounterTable:
    """What a process that is started anew makes of the table."""
    return CounterTable.attach(os.dup(table.fd))


def found(table: CounterTable) -> Model:
    rows = table.read()
    read = {(family, labels): list(words) for family, labels, words in rows}
    assert len(read) == len(rows), "an entry twice"
    return read


def total(table: CounterTable) -> int:
    return sum(words[0] for _, _, words in table.read())


@pytest.mark.parametrize("labels", [(), ("",), ("m", "1"), ("\0", '"\\\n'), ("\ud800", "\U0001f600"), ("x" * 5000,)])
def test_what_is_counted_is_read(table: CounterTable, labels: tuple[str, ...]) -> None:
    writer = successor(table)
    assert table.read() == []
    cells = writer.cells("f", labels, 3)
    assert list(cells) == [0, 0, 0]
    cells[1] += 7
    writer.cells("f", labels, 3)[2] = (1 << 64) - 1
    writer.cells("g", labels, 1)
    assert found(table) == {("f", labels): [0, 7, (1 << 64) - 1], ("g", labels): [0]}


def test_a_new_writer_goes_on_where_the_one_before_it_stopped(table: CounterTable) -> None:
    first = successor(table)
    first.cells("f", ["a"], 2)[0] = 5
    second = successor(table)
    assert second.entries() == [("f", ("a",))]
    second.cells("f", ["a"], 2)[0] += 1
    second.cells("f", ["b"], 2)[1] += 1
    assert found(table) == {("f", ("a",)): [6, 0], ("f", ("b",)): [0, 1]}


KEYS = st.tuples(st.sampled_from("fg"), st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "1", "2", "long" * 9])))
STEPS = st.one_of(
    st.tuples(st.just("add"), KEYS, st.integers(0, 2), st.integers(0, 1 << 40)),
    st.tuples(st.just("fold"), st.frozensets(st.sampled_from(["1", "2", "long" * 9])), st.booleans(), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just("read"), st.just(0), st.just(0), st.just(0)),
)


@given(st.lists(STEPS, max_size=60))
def test_as_a_dictionary_would(steps: list[Any]) -> None:
    table = CounterTable.create(SMALL)
    writer = successor(table)
    model: Model = {}
    for kind, what, n, amount in steps:
        if kind == "add":
            family, labels = what
            model.setdefault((family, labels), [0, 0, 0])[n] += amount
            writer.cells(family, labels, 3)[n] += amount
        elif kind == "restart":
            writer = successor(table)
        elif kind == "fold":

            def onto(family: str, labels: tuple[str, ...], gone: Any = what, forget: bool = n) -> tuple[str, ...] | None:
                if labels[1] not in gone:
                    return labels
                return None if forget and family == "g" else (labels[0], "")

            writer.fold(onto)
            for family, labels in list(model):
                target = onto(family, labels)
                if target != labels:
                    words = model.pop((family, labels))
                    if target is not None:
                        before = model.get((family, target), [0, 0, 0])
                        model[family, target] = [a + b for a, b in zip(before, words, strict=True)]
        else:
            assert found(table) == model
    assert found(table) == model
    table.close()


def test_versions_that_come_and_go_take_no_more_room(table: CounterTable) -> None:
    used: list[int] = []
    for version in range(100, 900):
        for model in ("m", "other"):
            table.cells("requests", (model, str(version), "OK"), 1)[0] += 1
            table.cells("run", (model, str(version)), 35)[3] += 1

        def onto(_: str, labels: tuple[str, ...], keep: str = str(version)) -> tuple[str, ...]:
            return labels if labels[1] == keep else (labels[0], "", *labels[2:])

        table.fold(onto)
        used.append(table._words[layout.WORD_END])
    assert used[-1] == used[3]
    assert found(table)["run", ("m", "")][3] == 799


def test_a_full_table_counts_no_more_and_says_so_once(table: CounterTable, caplog: pytest.LogCaptureFixture) -> None:
    made = [table.cells("f", [str(n)], 30) for n in range(500)]
    for cells in made:
        cells[0] += 1
    counted = total(table)
    assert 100 < counted < 500
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert list(table.cells("f", ["499"], 30)) == [0] * 30
    table.fold(lambda _, __: ("",))
    assert found(table) == {("f", ("",)): [counted] + [0] * 29}
    table.cells("f", ["499"], 30)[0] += 1
    assert total(table) == counted + 1


def test_folding_finds_room_when_every_entry_has_a_target_of_its_own(table: CounterTable) -> None:
    for n in range(500):
        table.cells("f", [str(n), "1"], 30)[0] += 1
    counted = total(table)
    table.fold(lambda _, labels: (labels[0], ""))
    assert total(table) == counted
    assert {labels[1] for _, labels in table.entries()} == {""}


@pytest.mark.parametrize("count", [0, -1, layout.MOST_CELLS + 1])
def test_an_entry_has_so_many_cells(table: CounterTable, count: int) -> None:
    with pytest.raises(ValueError, match="cells"):
        table.cells("f", [], count)
    assert table.read() == []


class Killed(Exception):
    pass


class Dying:
    """A table's words of a process that ends before its n-th word is written."""

    def __init__(self, words: memoryview, writes: int) -> None:
        self._words = words
        self._writes = writes

    def __getitem__(self, at: Any) -> Any:
        return self._words[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if not self._writes:
            raise Killed
        self._writes -= 1
        self._words[at] = value


def test_nothing_is_lost_or_counted_twice_wherever_a_writer_dies() -> None:
    for writes in range(200):
        table = CounterTable.create(SMALL)
        for name, count in (("a", 3), ("b", 40), ("", 500)):
            if name or writes % 2:
                table.cells("f", [name], 4)[:] = memoryview(bytes(range(32))).cast("Q")
                table.cells("f", [name], 4)[0] = count
        before = found(table)
        sums = [sum(words) for words in zip(*before.values(), strict=True)]
        writer = successor(table)
        writer.entries()
        writer._words = Dying(writer._words, writes)  # type: ignore[assignment]
        try:
            writer.fold(lambda _, labels: ("",))
            writer.cells("f", ["new"], 4)
        except Killed:
            partly = found(table)
            assert [sum(words) for words in zip(*partly.values(), strict=True)] == sums, "a reader sees each once"
            after = successor(table)
            after.fold(lambda _, labels: ("",))
            assert found(table) == {("f", ("",)): sums}
        else:
            break
        finally:
            table.close()
    else:
        pytest.fail("it never came to an end")
    assert writes > 20, "few places to die in"


def test_a_writer_that_died_amid_a_change_leaves_what_was_read_before(
    table: CounterTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "_READ_PAUSE", 0)
    cells = table.cells("f", ["a"], 1)
    cells[0] = 5
    before = table.read()
    table._words[layout.WORD_SEQUENCE] |= 1
    cells[0] = 6
    assert table.read() == before
    successor(table).entries()
    assert found(table) == {("f", ("a",)): [6]}


def filled() -> CounterTable:
    table = CounterTable.create(SMALL)
    for name in ("a", "bb", "c" * 30):
        table.cells("f", [name, "1"], 3)[0] += 1
    table.fold(lambda _, labels: ("x",) if labels[0] == "bb" else labels)
    return table


PLACES = st.one_of(st.integers(0, 16), st.integers(layout.FIRST, layout.FIRST + 60), st.integers(0, SMALL // 8 - 1))
WORDS = st.one_of(st.integers(0, 80), st.integers(0, (1 << 64) - 1), st.sampled_from([layout.MAGIC, 1 << 63, SMALL // 8]))


@settings(deadline=None)
@given(st.lists(st.tuples(PLACES, WORDS), min_size=1, max_size=6))
def test_no_damage_hurts_a_reader_or_the_next_writer(damage: list[tuple[int, int]]) -> None:
    table = filled()
    for at, word in damage:
        table._words[at] = word
    pause, counters._READ_PAUSE = counters._READ_PAUSE, 0  # type: ignore[misc]
    try:
        fresh = successor(table)
        assert len(fresh.read()) < 100
        table.read()
        writer = successor(table)
        cells = writer.cells("f", ["new"], 35)
        before = cells[0]
        cells[0] += 1
        writer.fold(lambda _, labels: labels if labels == ("new",) else None)
        assert found(fresh).get(("f", ("new",)), [0])[0] == before + 1 or writer._is_full
    finally:
        counters._READ_PAUSE = pause  # type: ignore[misc]
        table.close()


@pytest.mark.parametrize("text", ["[" * 3000, '["f", 1]', "{}", "[]", "nul", "\x01"])
def test_an_entry_with_a_text_that_can_not_be_is_left_out(text: str) -> None:
    table = CounterTable.create(SMALL)
    entry = "f" * 4000
    table.cells(entry, [], 1)
    table.cells("g", [], 1)[0] = 3
    at = layout.FIRST + layout.HEAD_WORDS
    raw = text.encode()
    padded = raw + bytes(-len(raw) % 8)
    table._words[at : at + len(padded) // 8] = memoryview(padded).cast("Q")
    table._words[layout.FIRST + layout.ENTRY_TEXT] = len(raw)
    assert found(table) == {("g", ()): [3]}
    table.close()


def test_what_is_no_table_is_refused() -> None:
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(ValueError, match="0 bytes"):
        CounterTable.attach(read)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)
    with pytest.raises(ValueError, match="sealed"):
        fd = os.memfd_create("not sealed")
        os.ftruncate(fd, SMALL)
        CounterTable.attach(fd)


def test_a_segment_that_holds_something_else_is_empty() -> None:
    segment = Segment.create("other", SMALL)
    segment.map[:] = random.Random(1).randbytes(SMALL)
    table = CounterTable.attach(os.dup(segment.fd))
    assert table.read() == []
    table.cells("f", [], 1)[0] = 4
    assert found(table) == {("f", ()): [4]}
    segment.close()


WRITER = """
import sys
from shm.counters import CounterTable
table = CounterTable.attach(int(sys.argv[1]))
version = 0
while True:
    cells = table.cells("f", ["m", str(version)], 20)
    for _ in range(50):
        cells[0] += 1
        cells[19] += 1
    version += 1
    now = str(version)
    table.fold(lambda _, labels: labels if labels[1] == now else ("m", ""))
"""


def start(table: CounterTable) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(table.fd)]
    return subprocess.Popen(command, cwd=ROOT, pass_fds=[table.fd])


def test_a_reader_sees_counters_grow_while_a_writer_folds_dies_and_starts_anew(table: CounterTable) -> None:
    most = 0
    deaths = 3
    for _ in range(deaths):
        writer = start(table)
        try:
            grown, until = 0, time.monotonic() + LIMIT
            while grown < 200:
                assert time.monotonic() < until, "it does not grow"
                count = total(table)
                assert count >= most, "less than before"
                grown += count > most
                most = count
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait(LIMIT)
    last = successor(table)
    last.fold(lambda _, labels: ("m", ""))
    [(_, labels, words)] = table.read()
    assert labels == ("m", "")
    assert most <= words[0] and 0 <= words[0] - words[19] <= deaths, "each was counted in both cells, but for one a death"
