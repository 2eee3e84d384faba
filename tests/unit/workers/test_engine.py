"""The TensorFlow engine: what loads and what does not, whose errors are shown, what comes back on unload."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tf_runs import FLOAT, ROWS, Load, address_of, array_of, floats, loads, make_engine, numbers, run, strings

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import Column
from shm.packed import PackedTensor
from workers.engine import Form
from workers.tf.engine import TensorFlowEngine

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module")
def engine() -> TensorFlowEngine:
    return make_engine()


@pytest.fixture(scope="module")
def load(engine: TensorFlowEngine, models: Path) -> Iterator[Load]:
    """Loads version 1 of a model, once for all tests here."""
    yield from loads(engine, models)


def failure(call: Callable[[], object]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        call()
    return caught.value.code, caught.value.message


# Loading.


def test_a_broken_model_is_told_in_tensorflows_words(engine: TensorFlowEngine, models: Path) -> None:
    path = models / "broken" / "1"
    text = f"Can't parse {path}/saved_model.pb as binary proto"
    assert failure(lambda: engine.load(str(path))) == (Code.DATA_LOSS, text)


@pytest.mark.parametrize("folder", ["empty", "nowhere/1"])
def test_a_folder_without_a_model_is_told_in_upstreams_words(engine: TensorFlowEngine, models: Path, folder: str) -> None:
    code, text = failure(lambda: engine.load(str(models / folder)))
    assert code == Code.NOT_FOUND
    assert text.startswith("Specified file path does not appear to contain a SavedModel bundle")
    assert text.endswith(str(models / folder))


@pytest.mark.parametrize("left_out", ["variables", "variables/variables.index"])
def test_a_model_whose_variables_are_not_there_yet_does_not_load(
    engine: TensorFlowEngine, tmp_path: Path, left_out: str
) -> None:
    """TensorFlow would load it, and then fail with each request."""
    whole = DATA / "saved_model_half_plus_two_tf2_cpu" / "00000123"
    part = tmp_path / "1"
    shutil.copytree(whole, part)
    lost = part / left_out
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    code, text = failure(lambda: engine.load(str(part)))
    assert (code, text) == (
        Code.FAILED_PRECONDITION,
        f"The SavedModel has variables, and their file is missing: {part}/variables/variables.index",
    )


@pytest.mark.parametrize("name", ["saved_model_half_plus_two_cpu", "saved_model_half_plus_three"])
def test_a_model_of_tensorflow_1_without_its_variables(engine: TensorFlowEngine, tmp_path: Path, name: str) -> None:
    """One that says nothing of how else its variables get their values needs its checkpoint."""
    part = tmp_path / "1"
    shutil.copytree(DATA / name / "00000123", part)
    shutil.rmtree(part / "variables")
    assert failure(lambda: engine.load(str(part)))[0] == Code.FAILED_PRECONDITION


def test_tags_that_the_model_lacks(models: Path) -> None:
    engine = TensorFlowEngine(ServerOptions(saved_model_tags="serve,tpu"))
    code, text = failure(lambda: engine.load(str(models / "half_plus_two" / "1")))
    assert code == Code.NOT_FOUND
    assert text.startswith("Could not find meta graph def matching supplied tags: { ")
    assert "serve" in text
    assert "tpu" in text


def test_a_session_configuration_reaches_tensorflow(models: Path, tmp_path: Path) -> None:
    """It says itself that it has read both: a thread pool of one name can't have two sizes."""
    for threads in (1, 2):
        file = tmp_path / f"{threads}.pbtxt"
        file.write_text(f'session_inter_op_thread_pool {{ num_threads: {threads} global_name: "of a test" }}')
    path = str(models / "half_plus_two" / "1")
    one, two = (TensorFlowEngine(ServerOptions(tensorflow_session_config_file=str(tmp_path / f"{n}.pbtxt"))) for n in (1, 2))
    one.load(path).unload()
    code, text = failure(lambda: two.load(path))
    assert code == Code.INVALID_ARGUMENT
    assert "of a test" in text


def test_two_versions_are_two_models(engine: TensorFlowEngine, models: Path) -> None:
    answers = []
    for number in ("1", "2"):
        version = engine.load(str(models / "half_plus_two" / number))
        answers.append(array_of(run(version, floats(10.0))[0]).tolist())
        version.unload()
    assert answers == [[7.0], [8.0]]


def test_signatures_are_sorted_by_alias(load: Load) -> None:
    signature = load("two_inputs").signatures[DEFAULT_SIGNATURE]
    assert [(spec.alias, spec.dtype.name, spec.shape) for spec in signature.inputs] == [
        ("a", "float", (-1, 3)),
        ("b", "int32", (-1,)),
    ]
    assert [spec.alias for spec in signature.outputs] == ["count", "sum"]
    assert signature.method == "tensorflow/serving/predict"


# Runs that fail.


@pytest.mark.parametrize("inline", [True, False])
def test_a_wrong_dtype(load: Load, inline: bool) -> None:
    code, text = failure(lambda: run(load("half_plus_two"), numbers(np.zeros(2), "double"), inline=inline))
    assert (code, text) == (Code.INVALID_ARGUMENT, "Expects arg[0] to be float but double is provided")


def test_strings_for_numbers(load: Load) -> None:
    code, text = failure(lambda: run(load("half_plus_two"), strings([b"1"])))
    assert (code, text) == (Code.INVALID_ARGUMENT, "Expects arg[0] to be float but string is provided")


def test_shapes_that_do_not_go_together(load: Load) -> None:
    two, three = numbers(np.zeros((2, 3), dtype="<f4")), numbers(np.zeros(3, dtype="<i4"), "int32")
    code, text = failure(lambda: run(load("two_inputs"), two, three))
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith("Incompatible shapes: [3,1] vs. [2,3]")


@pytest.mark.parametrize("inline", [True, False])
def test_a_models_own_error(load: Load, inline: bool) -> None:
    version = load("fails_on_negative")
    code, text = failure(lambda: run(version, floats(4.0, -1.0), inline=inline))
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith("assertion failed: [negative input]")
    assert array_of(run(version, floats(4.0, 9.0), inline=inline)[0]).tolist() == [2.0, 3.0], "and goes on"


def test_a_models_own_error_in_rows_writes_nothing(load: Load) -> None:
    rows = load("fails_on_negative").row_function(DEFAULT_SIGNATURE, ROWS, True)
    x, y = np.array([4.0, -1.0], dtype="<f4"), np.full(2, 5.0, dtype="<f4")
    code, text = failure(lambda: rows.run(2, [address_of(x)], [(2, [address_of(y)])]))
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith("assertion failed: [negative input]")
    assert y.tolist() == [5.0, 5.0]
    x[1] = 1.0
    assert rows.run(2, [address_of(x)], [(2, [address_of(y)])])
    assert y.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_inputs(load: Load, count: int) -> None:
    code, text = failure(lambda: run(load("half_plus_two"), *[floats(1.0)] * count))
    assert (code, text) == (Code.INVALID_ARGUMENT, f"expected 1 input tensors, got {count}")


@pytest.mark.parametrize(
    "tensor",
    [
        PackedTensor(FLOAT, (3,), b"1234"),
        PackedTensor(FLOAT, (), b""),
        PackedTensor(FLOAT, (-1,), b""),
        PackedTensor(20, (1,), b"resource"),
        PackedTensor(99, (1,), b"?"),
        PackedTensor(7, (2,), b"short"),
        PackedTensor(7, (-1,), b""),
        PackedTensor(7, (1,), (5).to_bytes(8, "little") + b"four"),
    ],
)
def test_bytes_that_are_no_tensor_of_this_shape(load: Load, tensor: PackedTensor) -> None:
    code, _ = failure(lambda: run(load("half_plus_two"), tensor))
    assert code == Code.INVALID_ARGUMENT


def test_rows_that_the_model_makes_fewer_of(load: Load) -> None:
    column = (3, Column("<i4", ()))
    rows = load("data_dependent").row_function(DEFAULT_SIGNATURE, Form((column,), (column,)), True)
    x, y = np.array([7, 7, 8], dtype="<i4"), np.full(3, -1, dtype="<i4")
    assert not rows.run(3, [address_of(x)], [(3, [address_of(y)])])
    assert y.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("form", [Column("<f4", (2,)), Column("<f4", (3, 1))])
def test_rows_of_another_shape_than_the_form_says(load: Load, form: Column) -> None:
    given = (FLOAT, Column("<f4", (3,)))
    rows = load("half_plus_two").row_function(DEFAULT_SIGNATURE, Form((given,), ((FLOAT, form),)), True)
    x, y = np.zeros((2, 3), dtype="<f4"), np.full((2, 3), -1.0, dtype="<f4")
    assert not rows.run(2, [address_of(x)], [(2, [address_of(y)])])
    assert (y == -1.0).all()


OVERFLOW = """
import sys
sys.path.insert(0, {tests!r})
from tf_runs import FLOAT, make_engine, run
from ringserve.errors import ServingError
from shm.packed import PackedTensor
version = make_engine().load({path!r})
for dtype in (FLOAT, 7):
    for shape in ((1 << 40, 1 << 40, 0), (0, 1 << 62, 4), (1 << 63, 0)):
        try:
            run(version, PackedTensor(dtype, shape, b""))
        except ServingError as error:
            print(error.code.name)
        else:
            print("ran")
"""


def test_a_shape_beyond_all_numbers_does_not_end_the_process(models: Path) -> None:
    """TensorFlow aborts on it, so it must never get there. In a process of its own, which may die of it."""
    code = OVERFLOW.format(tests=str(Path(__file__).parent), path=str(models / "half_plus_two" / "1"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["INVALID_ARGUMENT"] * 6


# Runs of odd signatures.


def test_a_scalar(load: Load) -> None:
    answer = run(load("scalar"), numbers(np.array(21.0, dtype="<f4")))[0]
    assert (answer.shape, array_of(answer).tolist()) == ((), 42.0)


def test_no_inputs(load: Load) -> None:
    assert array_of(run(load("no_inputs"))[0]).tolist() == [1.0, 2.0, 3.0]


def test_a_fixed_batch(load: Load) -> None:
    x = np.arange(6, dtype="<f4").reshape(2, 3)
    assert (array_of(run(load("fixed_batch"), numbers(x))[0]) == 2 * x).all()


def test_two_inputs_and_outputs_by_both_ways(load: Load) -> None:
    a, b = np.arange(6, dtype="<f4").reshape(2, 3), np.array([10, 20], dtype="<i4")
    count, added = run(load("two_inputs"), numbers(a), numbers(b, "int32"))
    assert array_of(count).tolist() == [10, 20]
    assert array_of(added).tolist() == (a + b[:, None]).tolist()
    wide, narrow = (FLOAT, Column("<f4", (3,))), (3, Column("<i4", ()))
    form = Form((wide, narrow), ((9, Column("<i8", ())), wide))
    counts, sums = np.zeros(2, dtype="<i8"), np.zeros((2, 3), dtype="<f4")
    rows = load("two_inputs").row_function(DEFAULT_SIGNATURE, form, False)
    assert rows.run(2, [address_of(a), address_of(b)], [(2, [address_of(counts), address_of(sums)])])
    assert counts.tolist() == [10, 20]
    assert sums.tolist() == (a + b[:, None]).tolist()
