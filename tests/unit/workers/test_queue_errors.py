"""Errors in a queue: each request's own, whatever else was in its batch, and always an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from queue_rig import SPEC, Rig, good
from small_version import Array, SmallVersion
from tf_runs import make_engine

from ringserve.errors import Code, ServingError
from shm.layout import LaneSpec
from shm.packed import PackedTensor, pack_strings, unpack_strings
from workers import answer_writer
from workers.engine import LoadedVersion
from workers.tf.engine import TensorFlowEngine


@pytest.fixture
def version() -> SmallVersion:
    return SmallVersion()


@pytest.fixture(scope="module")
def engine() -> TensorFlowEngine:
    return make_engine()


@pytest.fixture
def fails_on_negative(engine: TensorFlowEngine, models: Path) -> Iterator[LoadedVersion]:
    yield (version := engine.load(str(models / "fails_on_negative" / "1")))
    version.unload()


def small_answers(answer_bytes: int) -> LaneSpec:
    return LaneSpec(SPEC.inputs, SPEC.outputs, SPEC.rows, SPEC.slots, SPEC.request_bytes, answer_bytes)


def test_an_error_reaches_only_the_guilty(version: SmallVersion) -> None:
    with Rig(version) as rig:
        for values in ([1.0], [2.0, -5.0], [3.0], [-7.0]):
            rig.front.submit(*values)
        assert rig.turns() == 1
        answers = rig.front.answers()
        assert [answer.code for answer in answers] == [Code.OK, Code.INVALID_ARGUMENT, Code.OK, Code.INVALID_ARGUMENT]
        assert [answer.text for answer in answers] == ["", "negative row -5", "", "negative row -7"]
        assert (answers[0].values, answers[2].values) == ((3.0,), (7.0,))
        assert version.alone == [[1.0, 2.0, -5.0], [1.0], [2.0, -5.0], [3.0, -7.0], [3.0], [-7.0]], "by halves"


def test_an_error_reaches_no_other_lane(version: SmallVersion) -> None:
    with Rig(version, fronts=2) as rig:
        rig.fronts[0].submit(1.0)
        rig.fronts[1].submit(-1.0)
        rig.fronts[1].submit(2.0)
        assert rig.turns() == 1
        assert rig.fronts[0].answers() == [good(3.0)]
        guilty, innocent = rig.fronts[1].answers()
        assert (guilty.code, guilty.text) == (Code.INVALID_ARGUMENT, "negative row -1")
        assert innocent == good(5.0)


@pytest.mark.parametrize("packed", [False, True])
def test_a_request_that_ran_alone_is_not_run_again(version: SmallVersion, packed: bool) -> None:
    with Rig(version) as rig:
        (rig.front.submit_packed if packed else rig.front.submit)(-1.0, 4.0)
        rig.work()
        assert [answer.text for answer in rig.front.answers()] == ["negative row -1"]
        assert version.runs == 1


def test_a_tensorflow_models_error(fails_on_negative: LoadedVersion) -> None:
    with Rig(fails_on_negative, fronts=2) as rig:
        for front in rig.fronts:
            for values in ([4.0], [9.0, -1.0], [16.0, 25.0]):
                front.submit(*values)
        assert rig.turns() == 1
        for front in rig.fronts:
            first, second, third = front.answers()
            assert (first.values, third.values) == ((2.0,), (4.0, 5.0))
            assert second.code == Code.INVALID_ARGUMENT
            assert second.text.startswith("assertion failed: [negative input]")
        rig.front.submit(36.0)
        rig.work()
        assert rig.front.answers() == [good(6.0)]


def test_a_packed_request_of_the_wrong_type(fails_on_negative: LoadedVersion) -> None:
    with Rig(fails_on_negative) as rig:
        double = PackedTensor(2, (1,), np.ones(1).tobytes())
        rig.front.producer.submit_packed(0, 1, [double], 0)
        rig.front.producer.submit_packed(0, 1, [], 0)
        rig.front.submit(1.0)
        rig.work()
        wrong, missing, right = rig.front.answers()
        assert (wrong.code, wrong.text) == (Code.INVALID_ARGUMENT, "Expects arg[0] to be float but double is provided")
        assert (missing.code, missing.text) == (Code.INVALID_ARGUMENT, "expected 1 input tensors, got 0")
        assert right == good(1.0)


def test_strings_by_way_of_a_lane(engine: TensorFlowEngine, models: Path) -> None:
    version = engine.load(str(models / "text" / "1"))
    texts = [b"", b"a \0 inside", b"x" * 100]
    with Rig(version, form=None, spec=LaneSpec(slots=4, request_bytes=4096, answer_bytes=4096), batched=False) as rig:
        producer = rig.front.producer
        number = producer.submit_packed(0, 3, [PackedTensor(7, (3,), pack_strings(texts))], 0)
        rig.work()
        length, upper, upper_bytes = producer.answer_packed(number)
        assert np.frombuffer(length.data, dtype="<i4").tolist() == [0, 10, 100]
        assert unpack_strings(upper.data, 3) == unpack_strings(upper_bytes.data, 3) == [text.upper() for text in texts]
    version.unload()


def test_a_fault_of_the_engine_is_an_answer_too(caplog: pytest.LogCaptureFixture) -> None:
    def faulty(x: Array) -> Array:
        if (x == 13).any():
            raise RuntimeError("engine out of order")
        return x

    version = SmallVersion(faulty)
    with Rig(version) as rig:
        rig.front.submit(13.0)
        rig.front.submit_packed(13.0)
        rig.front.submit(14.0)
        rig.work()
        first, second, third = rig.front.answers()
        assert first == second
        assert (first.code, first.text) == (Code.INTERNAL, "worker error: engine out of order")
        assert third == good(14.0)
    assert "should" in caplog.text


def test_an_answer_larger_than_the_lane() -> None:
    version = SmallVersion(lambda x: np.repeat(x, 100))
    with Rig(version, spec=small_answers(2048)) as rig:
        rig.front.submit(1.0)
        rig.front.submit_packed(1.0)
        rig.front.submit_packed(*[1.0] * 20)
        rig.work()
        right, same, too_large = rig.front.answers()
        assert right.values == same.values == (1.0,) * 100
        assert too_large.code == Code.RESOURCE_EXHAUSTED
        assert "larger than the lane's 2048" in too_large.text


def test_answers_that_are_not_read_block_nobody_for_long(version: SmallVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring holds two of these answers. The third waits a while, those after it no more; nothing is lost once read."""
    monkeypatch.setattr(answer_writer, "_WAIT_SECONDS", 0.01)
    with Rig(version, spec=small_answers(512)) as rig:
        front = rig.front
        for _ in range(5):
            front.submit_packed(*[1.0] * 40)
        rig.work()
        codes = [front.answer(number).code for number in range(5)]
        assert codes == [Code.OK, Code.OK] + [Code.RESOURCE_EXHAUSTED] * 3
        front.producer.release(5)
        front.submit_packed(2.0)
        rig.work()
        assert front.answers() == [good(5.0, packed=True)]


@pytest.mark.parametrize("answer_bytes", [0, 63, 64, 128, 1000, 1024, 1 << 17])
@pytest.mark.parametrize("text", ["x" * 1000, "y" * 200_000, "ö" * 100_000, "z" + "ö" * 100_000, "bad \udcff path"])
def test_an_error_is_an_answer_however_long_its_text(text: str, answer_bytes: int) -> None:
    """What of it has no room is left out, whole characters at a time."""

    def fail(_: Array) -> Array:
        raise ServingError(Code.ABORTED, text)

    version = SmallVersion(fail)
    with Rig(version, spec=small_answers(answer_bytes)) as rig:
        rig.front.submit(1.0)
        rig.front.submit_packed(1.0)
        rig.work()
        first, second = rig.front.answers()
        assert (first.code, second.code) == (Code.ABORTED, Code.ABORTED)
        shown = text.encode(errors="replace").decode()
        assert shown.startswith(first.text)
        if answer_bytes >= 1000:
            assert len(first.text.encode()) > min(len(shown.encode()), 800) - 2
