"""Which signatures are proven to treat rows one by one, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_version import Array, Function, SmallVersion
from tf_runs import FLOAT

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import Column
from workers.engine import Inputs
from workers.platforms import Platforms
from workers.probe import Report, probe
from workers.versions import Versions

PROVEN = "rows run alone and together gave the same answers"
DIFFERS = "a row's answer differs when another row is in its batch"
NOT_ROWS = "an output's first dimension is not the batch, or its rows have no fixed size"
NO_ROWS = "an output's first dimension is not the batch"
NOT_UNKNOWN = "an input's first dimension is not unknown"
NUMERIC = (
    "half", "bfloat16", "float", "double", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128",
)  # fmt: skip


@pytest.fixture(scope="module")
def versions(models: Path) -> Iterator[Versions]:
    """Of the TensorFlow engine, with all that was loaded unloaded in the end."""
    options = ServerOptions(enable_model_warmup=False)
    yield (versions := Versions(Platforms(options), options))
    for name in models.iterdir():
        versions.unload(ServableId(name.name, 1))


def load(versions: Versions, models: Path, name: str) -> ServableId:
    servable = ServableId(name, 1)
    try:
        versions.get(servable)
    except ServingError:
        versions.load(servable, str(models / name / "1"), "tensorflow", {})
    return servable


def declared(versions: Versions, models: Path, name: str, signature: str = DEFAULT_SIGNATURE) -> Report:
    return versions.declared(load(versions, models, name), signature)


@pytest.mark.parametrize("name", ["half_plus_two", "half_plus_two_2d", "two_inputs", "fails_on_negative"])
def test_models_whose_rows_may_be_joined(versions: Versions, models: Path, name: str) -> None:
    report = declared(versions, models, name)
    assert report.form is not None
    assert (report.batched, report.reason) == (True, PROVEN)
    assert report.most_rows > 1
    assert report.seconds > 0
    specs = versions.get(ServableId(name, 1)).signatures[DEFAULT_SIGNATURE]
    for columns, declared_ones in ((report.form.inputs, specs.inputs), (report.form.outputs, specs.outputs)):
        assert [(dtype, column.shape) for dtype, column in columns] == [(s.dtype.number, s.row) for s in declared_ones]


@pytest.mark.parametrize("dtype", NUMERIC)
def test_every_type_of_numbers_may_be_joined(versions: Versions, models: Path, dtype: str) -> None:
    report = declared(versions, models, "identity", dtype)
    assert (report.batched, report.reason) == (True, PROVEN)


def test_large_rows_are_joined_few_at_a_time(versions: Versions, models: Path) -> None:
    """12 MiB in and out a row: a batch of many would take its time and its memory."""
    report = declared(versions, models, "echo_big")
    assert (report.batched, report.reason) == (True, PROVEN)
    assert 1 <= report.most_rows <= 2


@pytest.mark.parametrize("name", ["batch_dependent", "random"])
def test_models_whose_rows_know_of_each_other(versions: Versions, models: Path, name: str) -> None:
    """Their requests travel in columns all the same, and run one by one."""
    report = declared(versions, models, name)
    assert report.form is not None
    assert (report.batched, report.reason, report.most_rows) == (False, DIFFERS, 1)


@pytest.mark.parametrize("name", ["not_batch_major", "data_dependent"])
def test_models_whose_outputs_are_no_rows(versions: Versions, models: Path, name: str) -> None:
    report = declared(versions, models, name)
    assert (report.form, report.batched, report.reason, report.has_rows) == (None, False, NO_ROWS, False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("scalar", NOT_UNKNOWN), ("fixed_batch", NOT_UNKNOWN), ("no_inputs", "it has no inputs")],
)
def test_models_without_rows(versions: Versions, models: Path, name: str, reason: str) -> None:
    report = declared(versions, models, name)
    assert (report.form, report.batched, report.reason) == (None, False, reason)


@pytest.mark.parametrize(
    ("name", "signature"), [("text", DEFAULT_SIGNATURE), ("dynamic_image", DEFAULT_SIGNATURE), ("identity", "string")]
)
def test_rows_without_a_fixed_size_may_be_joined(versions: Versions, models: Path, name: str, signature: str) -> None:
    """They travel packed, and are merged when they are run."""
    report = declared(versions, models, name, signature)
    assert (report.form, report.batched, report.reason) == (None, True, PROVEN)
    assert report.seconds > 0


@pytest.mark.parametrize("name", ["scalar", "fixed_batch"])
def test_rows_seen_do_not_make_a_batch_of_what_declares_none(versions: Versions, models: Path, name: str) -> None:
    """Such a graph may well run on more rows than it declares: what it does with them was never promised."""
    seen: Inputs = ((FLOAT, Column("<f4", (3,))),)
    report = versions.report(load(versions, models, name), DEFAULT_SIGNATURE, seen)
    assert report == Report(None, False, NOT_UNKNOWN, has_rows=False)


def test_rows_of_a_form_that_requests_were_seen_to_have(versions: Versions, models: Path) -> None:
    """The signature says images of any size; those of one size have columns."""
    seen: Inputs = ((FLOAT, Column("<f4", (4, 5, 3))),)
    report = versions.report(load(versions, models, "dynamic_image"), DEFAULT_SIGNATURE, seen)
    assert report.batched
    assert report.form is not None
    assert report.form.outputs == ((FLOAT, Column("<f4", (3,))),)


def test_a_form_that_the_model_refuses(versions: Versions, models: Path) -> None:
    seen: Inputs = ((FLOAT, Column("<f4", (4,))), (3, Column("<i4", (2,))))
    report = versions.report(load(versions, models, "two_inputs"), DEFAULT_SIGNATURE, seen)
    assert (report.form, report.batched) == (None, False)
    assert report.reason.startswith("a run on synthetic rows failed: ")
    assert "\n" not in report.reason


# Functions of rows that only look row by row to a probe that asks too little.


def lagged(x: Array) -> Array:
    return np.diff(x, prepend=x.dtype.type(0))


def distinct(x: Array) -> Array:
    return x[np.sort(np.unique(x, return_index=True)[1])]


WHOLE_BATCH: list[Function] = [
    np.sort,
    lambda x: np.sort(x)[::-1],
    lambda x: x[::-1],
    lambda x: np.roll(x, 1),
    lambda x: np.roll(x, -1),
    np.cumsum,
    np.cumprod,
    np.maximum.accumulate,
    np.minimum.accumulate,
    lambda x: np.full_like(x, x.max()),
    lambda x: np.full_like(x, x[0]),
    lambda x: np.full_like(x, x[-1]),
    lambda x: x - x[0],
    lambda x: x * len(x),
    lagged,
    distinct,
]


@pytest.mark.parametrize("dtype", ["float", "int32", "half"])
@pytest.mark.parametrize("function", WHOLE_BATCH)
def test_the_synthetic_rows_tell_a_function_of_the_whole_batch(function: Function, dtype: str) -> None:
    """Rows in rising order only, or all different, would not tell a sort, a running maximum or a set."""
    version = SmallVersion(function, dtype)
    report = probe(version, DEFAULT_SIGNATURE, (version.column,))
    assert not report.batched
    assert report.reason in {DIFFERS, NOT_ROWS}


@pytest.mark.parametrize("dtype", ["float", "int32", "double"])
def test_a_function_of_the_row_is_told_too(dtype: str) -> None:
    version = SmallVersion(lambda x: 3 * x * x + 1, dtype)
    assert probe(version, DEFAULT_SIGNATURE, (version.column,)).batched


def only_small(x: Array) -> Array:
    return x[x < 1]


def only_large(x: Array) -> Array:
    return x[x >= 1]


def as_wide_as_large(x: Array) -> Array:
    """A row's answer is two numbers where all rows are large, one number otherwise."""
    return np.stack([x, x], axis=1) if (x >= 1).all() else x[:, None]


@pytest.mark.parametrize("function", [only_small, only_large, as_wide_as_large])
def test_answers_of_another_shape_for_other_rows(function: Function) -> None:
    version = SmallVersion(function)
    assert probe(version, DEFAULT_SIGNATURE, (version.column,)) == Report(None, False, NOT_ROWS)


def test_a_model_that_a_run_would_change_is_not_run() -> None:
    version = SmallVersion()
    version.changing = True
    assert probe(version, DEFAULT_SIGNATURE, (version.column,)) == Report(None, False, "it changes the model's state")
    assert version.runs == 0


def test_a_model_that_takes_one_row_only() -> None:
    def one(x: Array) -> Array:
        if len(x) > 1:
            raise ServingError(Code.INVALID_ARGUMENT, "one at a time\nplease")
        return x

    version = SmallVersion(one)
    report = probe(version, DEFAULT_SIGNATURE, (version.column,))
    assert report == Report(None, False, "a run on synthetic rows failed: one at a time")


def test_an_error_without_a_text() -> None:
    def fail(_: Array) -> Array:
        raise ServingError(Code.ABORTED, "")

    version = SmallVersion(fail)
    report = probe(version, DEFAULT_SIGNATURE, (version.column,))
    assert (report.batched, report.reason) == (False, "a run on synthetic rows failed: ABORTED")


class Clock:
    """Time that only the model's runs take: `first` for the first row of each and `more` for every other."""

    def __init__(self, first: float, more: float) -> None:
        self.now = 0.0
        self._first = first
        self._more = more

    def __call__(self) -> float:
        return self.now

    def model(self, x: Array) -> Array:
        self.now += self._first + (len(x) - 1) * self._more
        return 2 * x


@pytest.mark.parametrize(("first", "more"), [(0.008, 0.005), (0.1, 0.03), (1.0, 1.0), (0.01, 0.0), (1e-5, 1e-6)])
def test_what_a_batch_takes(monkeypatch: pytest.MonkeyPatch, first: float, more: float) -> None:
    """Each row beyond the first is taken for a 64th of it at least."""
    clock = Clock(first, more)
    monkeypatch.setattr("workers.probe.time.perf_counter", clock)
    version = SmallVersion(clock.model)
    report = probe(version, DEFAULT_SIGNATURE, (version.column,))
    assert report.batched
    assert report.seconds == pytest.approx(first)
    assert report.each == pytest.approx(max(more, first / 64))
    assert report.most_rows == 1024
    assert version.runs < 30
