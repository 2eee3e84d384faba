"""Warm-up by made-up requests: every signature and batch size, within the budget, and no failure that counts."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording_version import RecordingVersion, signature
from small_version import SmallVersion
from tf_runs import make_engine

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME
from shm.layout import Column
from shm.packed import PackedTensor, pack_strings
from workers.engine import LoadedVersion
from workers.limits import Limits
from workers.probe import Report, probe
from workers.recorded_requests import RecordedRequests
from workers.synthetic_warm_up import BUDGET_SECONDS, SyntheticWarmUp, batch_sizes
from workers.warm_up import WarmUp, warm_up

ROOT = Path(__file__).resolve().parents[3]
FORMLESS = Report(None, False, "its inputs have no fixed-size rows")


Planned = tuple[Report, Limits]


def formless(name: str) -> Planned:
    return FORMLESS, Limits()


def batched(version: SmallVersion, most_rows: int) -> Callable[[str], Planned]:
    report = Report(version.form, True, "", most_rows=most_rows)
    return lambda name: (report, Limits(most_rows))


@given(st.integers(1, 2000))
def test_sizes_double_up_to_the_most(most: int) -> None:
    sizes = batch_sizes(most)
    assert sizes[0] == 1 and sizes[-1] == most
    assert all(small < large <= 2 * small for small, large in itertools.pairwise(sizes))


def test_a_batched_form_runs_at_every_size() -> None:
    version = SmallVersion()
    synthetic = SyntheticWarmUp(version, batched(version, 11))
    synthetic.run()
    assert [len(rows) for rows in version.joined] == [1, 2, 4, 8, 11]
    assert (synthetic.requests, synthetic.notes, version.alone) == (5, [], [])


def test_what_is_not_batched_was_run_by_the_probe_already() -> None:
    version = SmallVersion()
    synthetic = SyntheticWarmUp(version, lambda name: (Report(version.form, False, "rows matter to each other"), Limits()))
    synthetic.run()
    assert (version.runs, synthetic.requests, synthetic.notes) == (0, 0, [])


def test_the_budget_is_kept_and_what_is_left_out_is_noted() -> None:
    version = SmallVersion()
    other = signature("other", x="float")
    version.signatures = {"other": other, **version.signatures}
    ticks = itertools.count(0, BUDGET_SECONDS / 4)  # a look at the clock each: at the end, per signature, per batch
    synthetic = SyntheticWarmUp(version, batched(version, 64), lambda: next(ticks))
    synthetic.run()
    assert [len(rows) for rows in version.joined] == [1, 2]
    assert synthetic.notes == [
        "signature serving_default: stopped after 3 s, before batches of 4 rows",
        "stopped after 3 s, before signatures other",
    ]


def test_an_error_at_a_size_is_a_note() -> None:
    def at_most_two(x: object) -> object:
        if len(x) > 2:  # type: ignore[arg-type]
            raise ServingError(Code.RESOURCE_EXHAUSTED, "too many\nand more")
        return x

    version = SmallVersion(at_most_two)  # type: ignore[arg-type]
    synthetic = SyntheticWarmUp(version, batched(version, 8))
    synthetic.run()
    assert synthetic.notes == ["signature serving_default: too many"]


def test_answers_of_another_shape_are_a_note() -> None:
    version = SmallVersion(lambda x: x[:2])
    synthetic = SyntheticWarmUp(version, batched(version, 8))
    synthetic.run()
    assert synthetic.notes == ["signature serving_default: the answers to 4 rows have another shape than those to one"]


def test_without_a_form_the_smallest_request_is_run() -> None:
    specs = (
        TensorSpec("a", "a:0", BY_NAME["string"], (-1, 2)),
        TensorSpec("b", "b:0", BY_NAME["float"], None),
        TensorSpec("c", "c:0", BY_NAME["int32"], (-1, -1, 3)),
        TensorSpec("d", "d:0", BY_NAME["bool"], ()),
        TensorSpec("e", "e:0", BY_NAME["complex64"], (0, 5)),
    )
    version = RecordingVersion(Signature("odd", "", specs, ()))
    synthetic = SyntheticWarmUp(version, formless)
    synthetic.run()
    ((name, (a, *numbers)),) = version.runs
    assert (name, synthetic.requests, synthetic.notes) == ("odd", 1, [])
    assert a == PackedTensor(BY_NAME["string"].number, (1, 2), pack_strings([b"", b""]))
    assert [(tensor.shape, len(tensor.data)) for tensor in numbers] == [((1,), 4), ((1, 1, 3), 12), ((), 1), ((0, 5), 0)]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (TensorSpec("x", "x:0", BY_NAME["resource"], ()), "no resource can be made up for input x"),
        (TensorSpec("x", "x:0", BY_NAME["float"], (-1, 1 << 40)), f"[1, {1 << 40}] is too large to make up input x"),
    ],
)
def test_what_can_not_be_made_up_is_noted(spec: TensorSpec, text: str) -> None:
    version = RecordingVersion(Signature("odd", "", (spec,), ()))
    synthetic = SyntheticWarmUp(version, formless)
    synthetic.run()
    assert synthetic.notes == [f"signature odd: {text}"]
    assert (version.runs, synthetic.requests) == ([], 0)


def test_the_default_signature_comes_first_and_tensorflows_own_not_at_all() -> None:
    names = ["__saved_model_init_op", "b", "serving_default", "a"]
    version = RecordingVersion(*[signature(name, x="string") for name in names])
    SyntheticWarmUp(version, formless).run()
    assert [name for name, _ in version.runs] == ["serving_default", "b", "a"]


def test_a_failed_run_fails_no_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    version = RecordingVersion(signature("a"), signature("b"), error=ServingError(Code.INTERNAL, ""))
    made = warm_up(version, str(tmp_path), ServerOptions(), RecordedRequests(), formless)
    assert made == WarmUp("synthetic", 2, made.seconds, ("signature a: INTERNAL", "signature b: INTERNAL"))
    file = tmp_path / "assets.extra/tf_serving_warmup_requests"
    assert f"No warmup data file found at {file}: 2 made-up requests run in 0.00 s; signature a: INTERNAL" in caplog.text


def probed(version: LoadedVersion) -> Callable[[str], Planned]:
    """What the probe says of rows as they are declared."""

    def plan(name: str) -> Planned:
        report = report_of(name)
        return report, Limits(report.most_rows if report.batched else 1)

    def report_of(name: str) -> Report:
        specs = version.signatures[name].inputs
        inputs = [(spec.dtype.number, Column(spec.dtype.numpy, spec.row)) for spec in specs if spec.row is not None]
        if len(inputs) < len(specs) or any(not spec.dtype.numpy for spec in specs):
            return FORMLESS
        return probe(version, name, inputs)

    return plan


def test_what_changes_the_model_is_left_out_and_noted() -> None:
    version = RecordingVersion(signature("train", x="float"), signature("predict", x="float"))
    version.changing = {"train"}
    asked: list[str] = []

    def plan(name: str) -> Planned:
        asked.append(name)
        return FORMLESS, Limits()

    synthetic = SyntheticWarmUp(version, plan)
    synthetic.run()
    assert [name for name, _ in version.runs] == asked == ["predict"]
    assert synthetic.notes == ["signature train: left out, as it changes the model's state"]


REAL = [
    "half_plus_two", "identity", "two_inputs", "text", "dynamic_image", "scalar", "no_inputs", "fixed_batch",
]  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_models(models: Path, name: str) -> None:
    folder = str(models / name / "1")
    version = make_engine().load(folder)
    try:
        made = warm_up(version, folder, ServerOptions(), RecordedRequests(), probed(version))
    finally:
        version.unload()
    assert (made.source, made.notes) == ("synthetic", ())
    assert made.requests > 0
    assert made.seconds < 2 * BUDGET_SECONDS


def test_upstreams_own_models_whose_examples_can_not_be_made_up() -> None:
    folder = str(ROOT / "tests/data/saved_model_half_plus_two_tf2_cpu/00000123")
    version = make_engine().load(folder)
    try:
        made = warm_up(version, folder, ServerOptions(), RecordedRequests(), probed(version))
    finally:
        version.unload()
    assert made.requests >= 6
    assert {note.partition(":")[0] for note in made.notes} == {
        f"signature {name}" for name in ("classify_x_to_y", "regress_x_to_y", "regress_x_to_y2")
    }
