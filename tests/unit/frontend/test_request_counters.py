"""What a front end counts: under which labels, in which buckets, within which bounds."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.request_counters import Meter, RequestCounters
from ringserve.errors import Code
from ringserve.servable import ServableId
from shm.counter_families import TIME_BOUNDS
from shm.counters import CounterTable

M1 = ServableId("m", 1)
M2 = ServableId("m", 2)
SIGNATURE = "serving_default"

Found = dict[tuple[str, tuple[str, ...]], tuple[int, ...]]


@pytest.fixture
def table() -> Iterator[CounterTable]:
    table = CounterTable.create(4 << 20)
    yield table
    table.close()


@pytest.fixture
def counters(table: CounterTable) -> RequestCounters:
    counters = RequestCounters(table)
    counters.serve(M1, [SIGNATURE])
    return counters


def found(table: CounterTable) -> Found:
    return {(family, labels): words for family, labels, words in table.read()}


def requests(table: CounterTable) -> dict[tuple[str, ...], int]:
    return {labels: words[0] for (family, labels), words in found(table).items() if family == "requests"}


def predict(counters: RequestCounters, version: int | None = 1, model: str = "m", signature: str = SIGNATURE) -> Meter:
    return counters.meter(model, version, signature, "predict", "REST")


def histogram(**counts: int) -> tuple[int, ...]:
    words = [0] * (len(TIME_BOUNDS) + 2)
    for bucket, count in counts.items():
        words[int(bucket.strip("b"))] = count
    return tuple(words)


def test_a_success_is_counted_with_its_times_and_a_failure_with_its_code(
    table: CounterTable, counters: RequestCounters
) -> None:
    meter = predict(counters)
    assert table.read() == [], "nothing was asked yet"
    assert predict(counters) is meter
    meter.ok(0, 9_999, 10_000)
    meter.ok(17_999, 18_000, 32_400)
    meter.failed(Code.RESOURCE_EXHAUSTED, 1_000)
    way = ("m", "1", SIGNATURE, "predict", "REST")
    assert found(table) == {
        ("requests", (*way, "OK")): (2,),
        ("requests", (*way, "RESOURCE_EXHAUSTED")): (1,),
        ("queue", way): histogram(b0=1, b1=1, b34=17_999),
        ("run", way): histogram(b0=1, b2=1, b34=27_999),
        ("duration", way): histogram(b1=1, b3=1, b34=42_400),
    }


def test_what_runs_no_model_has_its_duration_only(table: CounterTable, counters: RequestCounters) -> None:
    counters.meter("m", None, "", "", "REST").ok(0, 0, 50)
    way = ("m", "", "", "", "REST")
    assert found(table) == {("requests", (*way, "OK")): (1,), ("duration", way): histogram(b0=1, b34=50)}


@pytest.mark.parametrize(("queue", "run"), [(-5, 10), (5, -10), (1 << 63, 10), (5, 1 << 63), (-(1 << 63), -(1 << 63))])
def test_times_that_can_not_be_are_left_out(table: CounterTable, counters: RequestCounters, queue: int, run: int) -> None:
    predict(counters).ok(queue, run, 100)
    assert {family for family, _, _ in table.read()} == {"requests", "duration"}


@given(
    st.one_of(st.integers(0, 1 << 49), st.integers(0, 32).map(lambda i: int(10_000 * 1.8**i)), st.sampled_from(TIME_BOUNDS))
)
def test_buckets_are_upstreams(nanoseconds: int) -> None:
    bucket = bisect_right(TIME_BOUNDS, nanoseconds)
    exact = sum(10_000 * 9**i <= nanoseconds * 5**i for i in range(33))
    assert bucket == exact, "a value equal to a bound is above it"


def test_unknown_versions_and_signatures_have_no_labels_of_their_own(table: CounterTable, counters: RequestCounters) -> None:
    for n in range(5000):
        predict(counters, version=1000 + n).failed(Code.NOT_FOUND, 1)
        predict(counters, signature=f"s{n}").failed(Code.INVALID_ARGUMENT, 1)
    assert requests(table) == {
        ("m", "", "", "predict", "REST", "NOT_FOUND"): 5000,
        ("m", "1", "", "predict", "REST", "INVALID_ARGUMENT"): 5000,
    }
    assert len(counters._meters) < 10


def test_so_many_names_that_are_not_served_are_counted_apart(table: CounterTable, counters: RequestCounters) -> None:
    predict(counters, None, "x" * 10_000, "").failed(Code.NOT_FOUND, 1)
    for _ in range(2):
        for n in range(1500):
            predict(counters, None, f"no{n}", "").failed(Code.NOT_FOUND, 1)
    counted = requests(table)
    assert counted.pop(("", "", "", "predict", "REST", "NOT_FOUND")) == 1001
    assert len(counted) == 1000 and set(counted.values()) == {2}
    assert len(counters._meters) < 1010
    predict(counters).ok(1, 1, 1)
    counters.serve(ServableId("late", 7), [SIGNATURE])
    predict(counters, 7, "late").ok(1, 1, 1)
    assert requests(table)["late", "7", SIGNATURE, "predict", "REST", "OK"] == 1, "what is served always is"
    again = RequestCounters(CounterTable.attach(os.dup(table.fd)))
    again.meter("another", None, "", "predict", "REST").failed(Code.NOT_FOUND, 1)
    assert requests(table)["", "", "", "predict", "REST", "NOT_FOUND"] == 1002, "also not after a restart"


def test_what_a_retired_version_counted_stays_its_models(table: CounterTable, counters: RequestCounters) -> None:
    counters.serve(M2, [SIGNATURE])
    old, new, none = predict(counters), predict(counters, 2), predict(counters, 3)
    for meter in (old, new, none):
        meter.ok(5, 6, 7)
    old.failed(Code.INTERNAL, 1)
    counters.retire(M1)
    none.ok(5, 6, 7)
    old.ok(5, 6, 7)  # it had been about to
    new.ok(5, 6, 7)
    predict(counters).ok(5, 6, 7)
    gone, kept = ("m", "", "", "predict", "REST"), ("m", "2", SIGNATURE, "predict", "REST")
    assert requests(table) == {(*gone, "OK"): 5, (*gone, "INTERNAL"): 1, (*kept, "OK"): 2}
    assert found(table)["duration", gone] == histogram(b0=5, b34=35)
    assert found(table)["run", kept] == histogram(b0=2, b34=12)


def test_models_that_come_and_go_take_so_much_room_and_no_more(table: CounterTable) -> None:
    counters = RequestCounters(table)
    for n in range(1200):
        servable = ServableId(f"model {n}", 1)
        counters.serve(servable, [SIGNATURE])
        predict(counters, 1, servable.name).ok(1, 1, 1)
        if n >= 1100:
            counters.retire(servable)
    assert sum(requests(table).values()) == 1200
    for n in range(1100):
        counters.retire(ServableId(f"model {n}", 1))
        if n == 950:
            assert sum(requests(table).values()) == 1200
    counted = requests(table)
    assert len(counted) == 1001
    assert counted["", "", "", "predict", "REST", "OK"] == 200
    assert len(counters._meters) <= 1001


def test_a_new_process_goes_on(table: CounterTable, counters: RequestCounters) -> None:
    predict(counters).ok(5, 6, 7)
    counters.set_load([("m", "cpu:0", 3, 1, 0.5)])
    after = RequestCounters(CounterTable.attach(os.dup(table.fd)))
    assert not {"inflight", "enqueued"} & {family for family, _, _ in table.read()}, "its own lanes are empty"
    after.serve(M1, [SIGNATURE])
    predict(after).ok(5, 6, 7)
    way = ("m", "1", SIGNATURE, "predict", "REST")
    assert found(table)["duration", way] == histogram(b0=2, b34=14)
    assert requests(table) == {(*way, "OK"): 2}


def test_a_version_that_went_while_no_process_was_there_is_folded_with_the_next(table: CounterTable) -> None:
    before = RequestCounters(table)
    before.serve(M1, [SIGNATURE])
    predict(before).ok(5, 6, 7)
    after = RequestCounters(CounterTable.attach(os.dup(table.fd)))
    after.serve(M2, [SIGNATURE])
    after.serve(ServableId("m", 3), [SIGNATURE])
    after.retire(ServableId("m", 3))
    assert requests(table) == {("m", "", "", "predict", "REST", "OK"): 1}


def test_loads_are_those_of_all_lanes_and_end_with_them(table: CounterTable, counters: RequestCounters) -> None:
    counters.set_load(
        [("m", "cpu:0", 3, 2, 0.25), ("m", "cpu:0", 2, 2, 0.125), ("m", "cpu:1", 1, 0, 1.0), ("n", "cpu:0", 0, 0, 0.0)]
    )
    assert found(table) == {
        ("inflight", ("m", "cpu:0")): (5,),
        ("inflight", ("m", "cpu:1")): (1,),
        ("inflight", ("n", "cpu:0")): (0,),
        ("enqueued", ("m", "cpu:0")): (4,),
        ("enqueued", ("m", "cpu:1")): (0,),
        ("enqueued", ("n", "cpu:0")): (0,),
        ("ring_occupancy", ("m", "cpu:0")): (250_000,),
        ("ring_occupancy", ("m", "cpu:1")): (1_000_000,),
        ("ring_occupancy", ("n", "cpu:0")): (0,),
    }
    counters.set_load([("m", "cpu:0", 1, 1, 0.5)])
    assert found(table)["inflight", ("m", "cpu:1")] == (0,)
    assert found(table)["enqueued", ("m", "cpu:0")] == (1,)
    assert found(table)["ring_occupancy", ("m", "cpu:0")] == (500_000,)
    counters.retire(M1)
    assert found(table) == {}
    counters.set_load([])
    assert found(table) == {}


def rejected(table: CounterTable) -> dict[tuple[str, ...], int]:
    return {labels: words[0] for (family, labels), words in found(table).items() if family == "rejected"}


def test_refusals_count_by_their_reason(table: CounterTable, counters: RequestCounters) -> None:
    counters.rejected("m", 1, SIGNATURE, "queue_full")
    counters.rejected("m", 1, SIGNATURE, "queue_full", 3)
    counters.rejected("m", 1, SIGNATURE, "too_large")
    counters.rejected("m", 7, SIGNATURE, "queue_full")
    for n in range(100):
        counters.rejected("m", 1, f"s{n}", "queue_full")
        counters.rejected("m", None, f"s{n}", "too_large")
    assert rejected(table) == {
        ("m", "1", SIGNATURE, "queue_full"): 4,
        ("m", "1", SIGNATURE, "too_large"): 1,
        ("m", "", "", "queue_full"): 1,
        ("m", "1", "", "queue_full"): 100,
        ("m", "", "", "too_large"): 100,
    }
    assert len(counters._rejected) == 2


def test_refusals_of_a_retired_version_stay_its_models(table: CounterTable, counters: RequestCounters) -> None:
    counters.serve(M2, [SIGNATURE])
    for version in (1, 2):
        counters.rejected("m", version, SIGNATURE, "queue_full", version)
    counters.retire(M1)
    for version in (1, 2):
        counters.rejected("m", version, SIGNATURE, "queue_full", 10)
    assert rejected(table) == {("m", "", "", "queue_full"): 11, ("m", "2", SIGNATURE, "queue_full"): 12}
    after = RequestCounters(CounterTable.attach(os.dup(table.fd)))
    after.serve(M2, [SIGNATURE])
    after.rejected("m", 2, SIGNATURE, "queue_full")
    assert rejected(table)["m", "2", SIGNATURE, "queue_full"] == 13, "a new process goes on"


STEPS = st.tuples(
    st.sampled_from(["ok", "failed", "serve", "retire"]), st.sampled_from("ab"), st.integers(1, 3), st.booleans()
)


@given(st.lists(STEPS))
def test_no_request_is_ever_lost(steps: list[tuple[str, str, int, bool]]) -> None:
    table = CounterTable.create(1 << 18)
    counters = RequestCounters(table)
    held: dict[tuple[str, int], Meter] = {}
    done = {"ok": 0, "failed": 0}
    for what, model, version, keep in steps:
        if what == "serve":
            counters.serve(ServableId(model, version), [SIGNATURE])
        elif what == "retire":
            counters.retire(ServableId(model, version))
        else:
            done[what] += 1
            meter = predict(counters, version, model)
            if keep:
                meter = held.setdefault((model, version), meter)  # for longer than any request should
            if what == "ok":
                meter.ok(3, 4, 5)
            else:
                meter.failed(Code.INTERNAL, 5)
    counted = requests(table)
    assert sum(count for labels, count in counted.items() if labels[-1] == "OK") == done["ok"]
    assert sum(count for labels, count in counted.items() if labels[-1] != "OK") == done["failed"]
    for family, each in (("queue", 3), ("run", 4), ("duration", 5)):
        words = [row[2] for row in table.read() if row[0] == family]
        assert sum(sum(one[:-1]) for one in words) == done["ok"]
        assert sum(one[-1] for one in words) == done["ok"] * each
    table.close()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(-1, 1 << 40), st.integers(-1, 1 << 40), st.integers(0, 1 << 40), st.booleans()
        ),
        max_size=12,
    )
)
def test_many_alike_are_as_many_one_by_one(steps: list[tuple[int, int, int, int, bool]]) -> None:
    """Also when the table was changed in between."""
    tables = [CounterTable.create(1 << 18) for _ in range(2)]
    both = [RequestCounters(table) for table in tables]
    for counters in both:
        counters.serve(M1, [SIGNATURE])
    meters = [predict(counters) for counters in both]
    for count, queue, run, total, is_reloaded in steps:
        if is_reloaded:
            for meter in meters:
                meter.reload()
        meters[0].ok_each(count, queue, run, total)
        for _ in range(count):
            meters[1].ok(queue, run, total)
        assert found(tables[0]) == found(tables[1])
    for table in tables:
        table.close()


def test_many_alike_of_a_version_that_went(table: CounterTable, counters: RequestCounters) -> None:
    old = predict(counters)
    old.ok_each(3, 5, 6, 7)
    counters.retire(M1)
    old.ok_each(4, 5, 6, 7)
    old.ok_each(0, 5, 6, 7)
    old.failed(Code.INTERNAL, 7)
    gone = ("m", "", "", "predict", "REST")
    if ("requests", (*gone, "OK")) not in found(table):
        gone = ("", "", "", "predict", "REST")
    assert requests(table) == {(*gone, "OK"): 7, (*gone, "INTERNAL"): 1}
    assert found(table)["duration", gone] == histogram(b0=7, b34=49)
    assert found(table)["queue", gone] == histogram(b0=7, b34=35)
