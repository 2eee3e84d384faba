"""What `ringserve tune` tries, in which order, and what it keeps: against plain models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.tune.axes import Axes, Room, axes, seeds
from bench.tune.coordinate_search import coordinate_search
from bench.tune.front import Point, front, keeps, score
from bench.tune.setting import Setting
from bench.tune.tuning import Found, Told, TrialError, Tuning
from ringserve.flags import parse

SETTINGS = st.builds(
    Setting,
    batching=st.sampled_from(["adaptive", "static", "off"]),
    linger=st.sampled_from([0, 500, 2000]),
    max_batch_size=st.sampled_from([0, 8, 32]),
    batch_timeout=st.sampled_from([0, 1000]),
    batch_threads=st.sampled_from([0, 1, 4]),
    workers=st.sampled_from([0, 2]),
    frontends=st.sampled_from([1, 2]),
    intra_op=st.sampled_from([0, 1]),
    inter_op=st.sampled_from([0, 2]),
)
POINTS = st.builds(
    Point,
    setting=SETTINGS,
    clients=st.integers(1, 3),
    rate=st.integers(0, 4).map(float),
    p50=st.just(1.0),
    p99=st.integers(1, 4).map(float),
    memory=st.sampled_from([100.0, 102.0, 200.0, 400.0]),
    failed=st.integers(0, 1),
)
LIMITS = st.sampled_from([1.0, 2.0, math.inf])
#: Fields that matter whatever the kind of batching.
PLAIN: Axes = {"frontends": [1, 2, 4], "workers": [0, 2, 4], "intra_op": [0, 1, 2], "inter_op": [0, 1]}


def searched(start: Sequence[Setting], known: Axes, value: Callable[[Setting], float]) -> tuple[Setting, list[Setting]]:
    """What a search finds, and what it has asked for."""
    search = coordinate_search(start, known)
    asked = [next(search)]
    while True:
        try:
            asked.append(search.send(value(asked[-1])))
        except StopIteration as stop:
            return stop.value, asked


# Of settings.


@given(SETTINGS, st.sampled_from(["http", "grpc", "zmq"]))
def test_the_server_takes_the_flags(setting: Setting, scheme: str) -> None:
    options = parse([*setting.normal().flags(scheme, "/batching"), "--model_base_path=/m"], {}).options
    options.validate()
    assert options.batching_mode == setting.batching
    assert bool(options.batching_parameters_file) == bool(setting.normal().parameters)
    assert options.max_linger_micros == (setting.linger if setting.batching == "adaptive" else 2000)
    assert {"http": options.rest_frontends, "grpc": options.grpc_frontends, "zmq": options.zmq_frontends}[
        scheme
    ] == setting.frontends


def test_the_defaults_need_no_flags() -> None:
    assert Setting().flags("http", "") == []
    assert Setting().parameters == ""
    options = parse([], {}).options
    assert (options.max_linger_micros, options.rest_frontends) == (Setting().linger, Setting().frontends)


@given(SETTINGS)
def test_settings_that_do_the_same_are_one(setting: Setting) -> None:
    normal = setting.normal()
    assert normal.normal() == normal
    ignored = {"adaptive": ["batch_timeout"], "static": ["linger"]}.get(
        setting.batching, ["linger", "batch_timeout", "max_batch_size", "batch_threads"]
    )
    for field in ignored:
        other = replace(setting, **{field: 77})  # type: ignore[arg-type]
        assert other.normal() == normal
    kept = {field for field in Setting.__dataclass_fields__ if field not in ignored}
    assert all(getattr(normal, field) == getattr(setting, field) for field in kept)


def test_parameters_are_upstreams() -> None:
    static = Setting("static", max_batch_size=32, batch_timeout=1000, batch_threads=2)
    assert static.parameters == (
        "max_batch_size { value: 32 }\nbatch_timeout_micros { value: 1000 }\n"
        "max_enqueued_batches { value: 1000 }\nnum_batch_threads { value: 2 }\n"
    )
    assert "timeout" not in replace(static, batching="adaptive").parameters


# Of axes.


def test_what_the_user_has_settled_is_not_tried() -> None:
    room = Room(4, most_rows=64)
    everything = axes(room, "grpc", ())
    assert set(everything) == {field for field in Setting.__dataclass_fields__}
    assert set(everything) - set(axes(room, "grpc", ["devices"])) == {"workers"}
    assert set(everything) - set(axes(room, "grpc", ["grpc_frontends", "rest_frontends"])) == {"frontends"}
    assert set(everything) - set(axes(room, "grpc", ["tensorflow_session_parallelism"])) == {"intra_op", "inter_op"}
    without = axes(room, "grpc", ["enable_batching"])
    assert set(everything) - set(without) == {"batching", "max_batch_size", "batch_timeout", "batch_threads"}
    assert seeds(without, room) == [Setting()]


def test_batches_are_between_a_request_and_all_that_are_on_their_way() -> None:
    assert axes(Room(2, rows=16, most_rows=64), "http", ())["max_batch_size"] == [0, 16, 32, 64]
    assert "max_batch_size" not in axes(Room(2, most_rows=4), "http", ())
    assert seeds(axes(Room(2, most_rows=4), "http", ()), Room(2, most_rows=4))[1].max_batch_size == 0


def test_one_processor_and_gpus_leave_less_to_try() -> None:
    assert not {"frontends", "workers"} & set(axes(Room(1), "http", ()))
    assert "workers" not in axes(Room(8, gpus=1), "http", ())
    assert axes(Room(8), "http", ())["workers"] == [0, 2, 4, 8]


# Of the search.


@given(st.data())
def test_the_best_of_independent_flags_is_found(data: st.DataObject) -> None:
    worth = {(axis, value): data.draw(st.integers(1, 9)) for axis, values in PLAIN.items() for value in values}

    def value(setting: Setting) -> float:
        return math.prod(2.0 ** worth[axis, getattr(setting, axis)] for axis in PLAIN)

    best, asked = searched([Setting()], PLAIN, value)
    everything = [Setting(**dict(zip(PLAIN, values, strict=True))) for values in itertools.product(*PLAIN.values())]  # type: ignore[arg-type]
    assert value(best) == max(map(value, everything))
    assert len(asked) < len(everything)


@given(
    st.dictionaries(SETTINGS.map(Setting.normal), st.floats(0, 100), max_size=60), st.lists(SETTINGS, min_size=1, max_size=3)
)
def test_nothing_is_asked_twice_and_no_neighbour_of_the_end_is_better(
    scores: dict[Setting, float], start: list[Setting]
) -> None:
    known = axes(Room(2, most_rows=16), "http", ())
    best, asked = searched(start, known, lambda setting: scores.get(setting, 1.0))
    assert len(asked) == len(set(asked))
    assert all(setting == setting.normal() for setting in asked)
    assert {each.normal() for each in start} <= set(asked)
    neighbours = [replace(best, **{axis: value}).normal() for axis, values in known.items() for value in values]  # type: ignore[arg-type]
    assert set(neighbours) <= set(asked)
    assert all(scores.get(each, 1.0) <= scores.get(best, 1.0) * 1.03 for each in neighbours)


def test_noise_does_not_move_it_from_the_defaults() -> None:
    best, _ = searched([Setting()], PLAIN, lambda setting: 100.0 if setting == Setting() else 102.9)
    assert best == Setting()
    best, _ = searched([Setting()], PLAIN, lambda setting: 104.0 if setting.workers == 2 else 100.0)
    assert best == Setting(workers=2)


# Of the front.


@given(st.lists(POINTS, max_size=12), LIMITS)
def test_the_front_is_what_nothing_beats(points: list[Point], limit: float) -> None:
    found = front(points, limit)
    within = [point for point in points if not point.failed and point.p99 <= limit]

    def beaten(point: Point) -> bool:
        return any(
            all(a >= b for a, b in zip(other.goods, point.goods, strict=True)) and other.goods != point.goods
            for other in within
        )

    assert sorted(map(id, found)) == sorted(id(point) for point in within if not beaten(point))
    assert bool(found) == bool(within)
    assert [point.rate for point in found] == sorted((point.rate for point in found), reverse=True)


def test_memory_that_hardly_differs_is_the_same() -> None:
    one, same, less = (
        Point(Setting(), 1, rate, 1.0, 2.0, memory) for rate, memory in ((10.0, 103.0), (9.0, 102.0), (8.0, 50.0))
    )
    assert front([same, less, one]) == [one, less]


@given(st.lists(POINTS, max_size=5), LIMITS)
def test_a_setting_that_keeps_the_limit_scores_more_than_one_that_does_not(points: list[Point], limit: float) -> None:
    found = score(points, limit)
    assert (found >= 1) == any(keeps(point, limit) for point in points)
    assert found >= 0
    assert score([*points, Point(Setting(), 1, 100.0, 0.1, 0.5, 1.0)], limit) == 101


# Of the whole.


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ignored(_: Setting, __: Sequence[Point]) -> None: ...


def tuned(
    budget: float, rate: Callable[[Setting, int], float], limit: float = math.inf, told: Told = ignored
) -> tuple[Found, list[Setting], Clock]:
    """A tuning in which a measurement takes ten seconds and finds this rate, by its number; below 0 it fails."""
    clock, measured = Clock(), list[Setting]()

    def measure(setting: Setting) -> list[Point]:
        clock.now += 10.0
        measured.append(setting)
        found = rate(setting, len(measured))
        if found < 0:
            raise TrialError("no server")
        return [Point(setting, clients, found * clients, 1.0, 5.0 * clients, 100.0) for clients in (1, 2)]

    tuning = Tuning(measure, told, budget, clock, lambda line: None)
    return tuning.run(coordinate_search([Setting()], PLAIN), limit), measured, clock


@pytest.mark.parametrize("budget", [0.0, 25.0, 60.0, 100.0, 1000.0])
def test_the_budget_is_kept(budget: float) -> None:
    found, measured, clock = tuned(budget, lambda setting, _: 100.0 * setting.frontends)
    assert clock.now <= max(budget, 10.0)
    assert measured[0] == Setting()
    assert found.front
    if budget == 1000:
        assert found.finished
        assert found.front[0].setting == Setting(frontends=4)


def test_figures_of_the_best_are_of_later_runs() -> None:
    found, measured, _ = tuned(400.0, lambda setting, number: 1000.0 if number == 3 else 100.0)
    lucky = measured[2]
    assert measured.count(lucky) == 4
    for point in found.points:
        if point.setting == lucky:
            assert (point.rate, point.runs) == (100.0 * point.clients, 3)
    assert found.default is not None
    assert found.default.runs == 3


def test_a_limit_is_kept_by_the_front() -> None:
    found, _, _ = tuned(200.0, lambda setting, _: 10.0, limit=7.0)
    assert {point.clients for point in found.front} == {1}
    assert found.default is not None
    assert found.default.clients == 1
    nothing, _, _ = tuned(200.0, lambda setting, _: 10.0, limit=1.0)
    assert nothing.front == []
    assert nothing.default is not None


def test_what_does_not_start_is_left_out() -> None:
    found, _, _ = tuned(1000.0, lambda setting, _: -1.0 if setting.workers else 10.0)
    assert {setting.workers for setting in found.failures} == {2, 4}
    assert set(found.failures.values()) == {"no server"}
    assert not any(point.setting.workers for point in found.points)
    with pytest.raises(TrialError, match="no server"):
        tuned(1000.0, lambda setting, _: -1.0)


def test_an_interruption_keeps_what_there_is() -> None:
    def rate(setting: Setting, number: int) -> float:
        if number == 4:
            raise KeyboardInterrupt
        return 10.0

    found, measured, _ = tuned(1000.0, rate)
    assert found.interrupted
    assert not found.finished
    assert set(found.trials) == set(measured[:3])
    assert found.front


def test_what_was_told_is_kept_when_the_interruption_follows_at_once() -> None:
    told: list[Setting] = []

    def tell(setting: Setting, _: Sequence[Point]) -> None:
        told.append(setting)
        if len(told) == 2:
            raise KeyboardInterrupt

    found, _, _ = tuned(1000.0, lambda setting, _: 10.0, told=tell)
    assert list(found.trials) == told


def test_a_first_round_of_measuring_again_that_is_cut_short_loses_no_setting() -> None:
    """One of the best does not keep the limit the second time, and the others were not yet measured again."""
    told: list[Setting] = []

    def tell(setting: Setting, _: Sequence[Point]) -> None:
        told.append(setting)
        if told.count(setting) == 2:
            raise KeyboardInterrupt

    rates: dict[Setting, list[float]] = {}

    def measure_rate(setting: Setting, number: int) -> float:
        rates.setdefault(setting, []).append(float(number))
        return 1000.0 if len(rates[setting]) == 1 else 0.1

    found, _, _ = tuned(1000.0, measure_rate, told=tell)
    assert found.interrupted
    assert not found.again
    again = told[-1]
    assert {point.setting for point in found.front} - {again}
