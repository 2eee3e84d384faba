"""Warm-up by recorded requests: which are run, with what, and how each kind of failure reads."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prediction_logs import (
    CLASSIFY,
    REGRESS,
    classify_log,
    example,
    examples_input,
    framed,
    log,
    multi_inference_log,
    predict_log,
    regress_log,
    tensor_proto,
    write_file,
)
from recording_version import RecordingVersion, signature
from tf_runs import floats, make_engine, strings

from ringserve.default_value import DefaultValue
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.protos import message_module
from workers.engine import LoadedVersion
from workers.limits import Limits
from workers.probe import Report
from workers.recorded_requests import RecordedRequests
from workers.warm_up import WarmUp, warm_up

ROOT = Path(__file__).resolve().parents[3]
PREDICT_SIGNATURE = signature("serving_default", "tensorflow/serving/predict", x="float")
CLASSIFY_SIGNATURE = signature("classify", CLASSIFY, [("scores", "float"), ("classes", "string")], inputs="string")
REGRESS_SIGNATURE = signature("regress", REGRESS, [("outputs", "float")], inputs="string")
NAMED = [PREDICT_SIGNATURE, CLASSIFY_SIGNATURE, REGRESS_SIGNATURE]
GOOD = predict_log({"x": tensor_proto([1, 2])})
TWO = examples_input(example(x=1), example(x=2))


def no_plan(name: str) -> tuple[Report, Limits]:
    raise AssertionError("with a file nothing is probed")


def replay(folder: Path, version: LoadedVersion, *logs: Any, **options: Any) -> WarmUp:
    write_file(folder, framed(*[one.SerializeToString() for one in logs]))
    return warm_up(version, str(folder), ServerOptions(**options), RecordedRequests(), no_plan)


def refusal(folder: Path, version: LoadedVersion, *logs: Any, **options: Any) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        replay(folder, version, *logs, **options)
    return caught.value.code, caught.value.message


def test_every_kind_of_request_is_run_with_its_tensors(tmp_path: Path) -> None:
    version = RecordingVersion(*NAMED)
    both = ("classify", CLASSIFY), ("regress", REGRESS)
    logs = [GOOD, classify_log(TWO, "classify"), regress_log(TWO, "regress"), multi_inference_log(TWO, *both)]
    made = replay(tmp_path, version, *logs)
    rows = strings([example(x=1).SerializeToString(), example(x=2).SerializeToString()])
    assert version.runs == [
        ("serving_default", [floats(1, 2)]),
        ("classify", [rows]),
        ("regress", [rows]),
        ("classify", [rows]),
        ("regress", [rows]),
    ]
    assert (made.source, made.requests, made.notes) == ("file", 4, ())
    assert made.to_wire() == {"source": "file", "requests": 4, "seconds": made.seconds, "notes": [], "records": 4}


def test_inputs_go_in_the_signatures_order(tmp_path: Path) -> None:
    version = RecordingVersion(signature("serving_default", a="float", b="string"))
    replay(tmp_path, version, predict_log({"b": text_proto(b"u", b"v"), "a": tensor_proto([3])}, output_filter=["y"]))
    assert version.runs == [("serving_default", [floats(3), strings([b"u", b"v"])])]


def test_inputs_that_a_request_leaves_out_have_their_default_values(tmp_path: Path) -> None:
    default = DefaultValue("b", text_proto(b"d").SerializeToString())
    version = RecordingVersion(replace(signature("serving_default", a="float", b="string"), defaults=(default,)))
    replay(tmp_path, version, predict_log({"a": tensor_proto([3, 4])}), num_request_iterations_for_warmup=2)
    assert version.runs == [("serving_default", [floats(3, 4), strings([b"d"])])] * 2


def text_proto(*texts: bytes) -> Any:
    proto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto(dtype=7, string_val=texts)
    proto.tensor_shape.dim.add(size=len(texts))
    return proto


@pytest.mark.parametrize(("iterations", "runs"), [(-1, 1), (0, 1), (1, 1), (3, 3)])
def test_each_record_runs_as_often_as_the_flag_says(tmp_path: Path, iterations: int, runs: int) -> None:
    version = RecordingVersion(*NAMED)
    made = replay(tmp_path, version, GOOD, GOOD, num_request_iterations_for_warmup=iterations)
    assert len(version.runs) == made.requests == 2 * runs


def test_an_empty_file_and_a_record_without_type_are_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    version = RecordingVersion(*NAMED)
    assert replay(tmp_path, version).requests == 0
    assert "Number of warmup records read: 0." in caplog.text
    assert replay(tmp_path, version, log()).requests == 0
    file = tmp_path / "assets.extra/tf_serving_warmup_requests"
    assert f"Finished reading warmup data for model at {file}. Number of warmup records read: 1. Elapsed" in caplog.text
    assert version.runs == []


def test_the_flag_turns_it_off(tmp_path: Path) -> None:
    assert replay(tmp_path, RecordingVersion(), log(session_run_log={}), enable_model_warmup=False) == WarmUp("off")


@pytest.mark.parametrize(("kind", "number"), [("session_run_log", 5), ("predict_streamed_log", 7)])
def test_kinds_that_upstream_does_not_replay(tmp_path: Path, kind: str, number: int) -> None:
    version = RecordingVersion(*NAMED)
    text = f"Unsupported log_type for warmup: {number}"
    assert refusal(tmp_path, version, GOOD, log(**{kind: {}}), GOOD) == (Code.UNIMPLEMENTED, text)
    assert len(version.runs) == 1


def test_a_thousand_records_are_the_most_and_the_next_is_still_run(tmp_path: Path) -> None:
    version = RecordingVersion(*NAMED)
    assert replay(tmp_path, version, *[GOOD] * 1000).requests == 1000
    version.runs.clear()
    text = f"Number of warmup records exceeds the maximum (1000) at {tmp_path}/assets.extra/tf_serving_warmup_requests"
    assert refusal(tmp_path, version, *[GOOD] * 1002) == (Code.INVALID_ARGUMENT, text)
    assert len(version.runs) == 1001


def test_a_record_that_is_no_message(tmp_path: Path) -> None:
    file = write_file(tmp_path, framed(GOOD.SerializeToString(), b"\xffabc"))
    with pytest.raises(ServingError) as caught:
        warm_up(RecordingVersion(*NAMED), str(tmp_path), ServerOptions(), RecordedRequests(), no_plan)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == f"Failed to parse warmup record: \\xffabc from {file}"


def test_a_file_of_something_else(tmp_path: Path) -> None:
    write_file(tmp_path, GOOD.SerializeToString() * 3)
    with pytest.raises(ServingError) as caught:
        warm_up(RecordingVersion(*NAMED), str(tmp_path), ServerOptions(), RecordedRequests(), no_plan)
    assert caught.value.code is Code.DATA_LOSS
    assert caught.value.message == (
        "corrupted record at 0 (Is this even a TFRecord file?). Please verify your warmup data is in TFRecord format."
    )


@pytest.mark.parametrize("code", [Code.ABORTED, Code.DATA_LOSS])
def test_a_request_that_fails_ends_it_with_its_status(tmp_path: Path, code: Code) -> None:
    version = RecordingVersion(*NAMED, error=ServingError(code, "no"))
    assert refusal(tmp_path, version, GOOD, GOOD) == (code, "no")
    assert len(version.runs) == 1


X = tensor_proto([1])


@pytest.mark.parametrize(
    ("made", "code", "text"),
    [
        (predict_log({"x": X}, "nope"), Code.FAILED_PRECONDITION, 'Serving signature key "nope" not found.'),
        (
            predict_log({}),
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            predict_log({"x": X, "b": X, "a": X}),
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 3!=1 len({a,b,x}) != len({x}). "
            "Sent extra: {a,b}. Missing but required: {}.",
        ),
        (
            predict_log({"z": X}),
            Code.INVALID_ARGUMENT,
            "Signature input alias: x(feed name: x:0) not found in request and no default value provided. "
            "Inputs expected to be in the request {z}, or default input alias set: ",
        ),
        (predict_log({"x": type(X)()}), Code.INVALID_ARGUMENT, "tensor parsing error: x"),
        (
            predict_log({"x": X}, output_filter=["y", "q"]),
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
        ),
        (predict_log({"x": X}, output_filter=["y", "y"]), Code.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
        (
            predict_log({"x": text_proto(b"a")}),
            Code.INVALID_ARGUMENT,
            "Expects arg[0] to be float but string is provided",
        ),
        (classify_log(TWO, "nope"), Code.INVALID_ARGUMENT, "No signature was found with the name: nope"),
        (regress_log(TWO, "nope"), Code.INVALID_ARGUMENT, "No signature was found with the name: nope"),
        (classify_log({}, "classify"), Code.INVALID_ARGUMENT, "Input is empty."),
        (regress_log(examples_input(), "regress"), Code.INVALID_ARGUMENT, "Input is empty."),
        (regress_log(examples_input(context=example(x=1)), "regress"), Code.INVALID_ARGUMENT, "Input is empty."),
        (
            regress_log(TWO, "classify"),
            Code.INVALID_ARGUMENT,
            "Expected one output Tensor.",
        ),
        (
            classify_log(TWO, "regress"),
            Code.INVALID_ARGUMENT,
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: ',
        ),
        (classify_log(TWO), Code.INVALID_ARGUMENT, "No classification inputs found in SignatureDef: inputs {\n"),
        (regress_log(TWO), Code.INVALID_ARGUMENT, "No regression inputs found in SignatureDef: inputs {\n"),
        (
            multi_inference_log(TWO, ("nope", CLASSIFY)),
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nope",
        ),
        (
            multi_inference_log(TWO, ("classify", CLASSIFY), ("classify", REGRESS)),
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: classify",
        ),
        (
            multi_inference_log(TWO, ("regress", "tensorflow/serving/predict")),
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (multi_inference_log({}, ("regress", REGRESS)), Code.INVALID_ARGUMENT, "Input is empty."),
    ],
)
def test_requests_are_checked_as_a_clients_would_be(tmp_path: Path, made: Any, code: Code, text: str) -> None:
    version = RecordingVersion(*NAMED)
    given, message = refusal(tmp_path, version, made)
    assert given is code
    assert message.startswith(text) if text[-1] in " \n" else message == text
    assert not version.runs


def test_tasks_of_different_models(tmp_path: Path) -> None:
    made = multi_inference_log(TWO, ("classify", CLASSIFY), ("regress", REGRESS))
    tasks = made.multi_inference_log.request.tasks
    tasks[1].model_spec.name = "other"
    text = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
    assert refusal(tmp_path, RecordingVersion(*NAMED), made) == (Code.INVALID_ARGUMENT, text)
    tasks[1].model_spec.name = ""
    text = "Found ModelSpec with an empty model name."
    assert refusal(tmp_path, RecordingVersion(*NAMED), made) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("made", "code", "text"),
    [
        (
            predict_log({"x": X}, "odd"),
            Code.INTERNAL,
            "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
            "tensorflow/serving/classify, tensorflow/serving/regress}. Was: odd/method",
        ),
        (
            classify_log(TWO, "odd"),
            Code.INVALID_ARGUMENT,
            "Expected classification signature method_name to be tensorflow/serving/classify. Was: odd/method",
        ),
        (
            multi_inference_log(TWO, ("odd", REGRESS)),
            Code.INVALID_ARGUMENT,
            "Expected regression signature method_name to be tensorflow/serving/regress. Was: odd/method",
        ),
    ],
)
def test_method_names_count_only_with_the_flag(tmp_path: Path, made: Any, code: Code, text: str) -> None:
    version = RecordingVersion(signature("odd", "odd/method", x="float"))
    assert refusal(tmp_path, version, made, enable_signature_method_name_check=True) == (code, text)
    if made.HasField("predict_log"):
        assert replay(tmp_path, version, made).requests == 1


def test_a_tensor_far_larger_than_its_message_is_refused(tmp_path: Path) -> None:
    proto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto(dtype=1, float_val=[1])
    proto.tensor_shape.dim.add(size=1 << 40)
    code, text = refusal(tmp_path, RecordingVersion(*NAMED), predict_log({"x": proto}))
    assert code is Code.RESOURCE_EXHAUSTED
    assert "268435456" in text


@pytest.fixture(scope="module")
def half_plus_two() -> Iterator[LoadedVersion]:
    """Upstream's own test model, with signatures that parse tf.Examples."""
    version = make_engine().load(str(ROOT / "tests/data/saved_model_half_plus_two_cpu/00000123"))
    yield version
    version.unload()


def test_a_real_model_runs_all_kinds(tmp_path: Path, half_plus_two: LoadedVersion) -> None:
    rows = examples_input(example(x=1), example(x=2))
    made = replay(
        tmp_path,
        half_plus_two,
        predict_log({"x": tensor_proto([[1], [2]])}),
        classify_log(rows, "classify_x_to_y"),
        regress_log(rows, "regress_x_to_y"),
        multi_inference_log(rows, ("classify_x_to_y", CLASSIFY), ("regress_x_to_y2", REGRESS)),
        num_request_iterations_for_warmup=2,
    )
    assert made.requests == 8


def test_a_context_is_merged_into_each_example_which_wins(tmp_path: Path, half_plus_two: LoadedVersion) -> None:
    without = regress_log(examples_input(example(z=1)), "regress_x_to_y")
    assert "Feature: x (data type: float) is required" in refusal(tmp_path, half_plus_two, without)[1]
    made = regress_log(examples_input(example(z=1), example(x=4), context=example(x=2)), "regress_x_to_y")
    recorder = RecordingVersion(*half_plus_two.signatures.values())
    replay(tmp_path, recorder, made)
    ((name, tensors),) = recorder.runs
    with half_plus_two.run(name, tensors, False) as (answer,):
        assert np.frombuffer(answer.data, dtype="<f4").tolist() == [3, 4]


def test_a_real_models_error_fails_it(tmp_path: Path, half_plus_two: LoadedVersion) -> None:
    text = "Expects arg[0] to be float but string is provided"
    assert refusal(tmp_path, half_plus_two, regress_log(TWO, "regress_x2_to_y3")) == (Code.INVALID_ARGUMENT, text)


def test_a_file_is_read_without_tensorflow_itself(tmp_path: Path) -> None:
    write_file(tmp_path, framed(GOOD.SerializeToString()))
    program = (
        "import sys; sys.path.insert(0, 'tests/unit/workers')\n"
        "from recording_version import RecordingVersion, signature\n"
        "from ringserve.options import ServerOptions\n"
        "from workers.recorded_requests import RecordedRequests\n"
        "from workers.warm_up import warm_up\n"
        "version = RecordingVersion(signature('serving_default', x='float'))\n"
        "assert 'tensorflow' not in sys.modules and 'google.protobuf' not in sys.modules, 'before there is a file'\n"
        "assert warm_up(version, sys.argv[1], ServerOptions(), RecordedRequests(), None).requests == 1\n"
        "assert 'libtensorflow' not in open('/proc/self/maps').read()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
