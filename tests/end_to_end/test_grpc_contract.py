"""What TensorFlow Serving's own tests ask of its gRPC API, with its own stubs and the flags that they give their servers."""

from __future__ import annotations

import queue
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from end_to_end.conftest import DATA
from end_to_end.grpc_stubs import (
    CLASSIFY,
    REGRESS,
    Choice,
    Refusal,
    Stubs,
    classification_pb2,
    classify_request,
    example,
    floats,
    metadata_pb2,
    metadata_request,
    model_spec,
    multi_request,
    predict_pb2,
    predict_request,
    regress_request,
    regression_pb2,
    states,
    status_pb2,
    status_request,
)
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import publish
from ringserve.protos import message_module

ALL = "model_version_policy { all {} }"
LABELS = {"stable": 123, "né/w: ?%": 124}
TWO = example(x=2.0)


class Upstream(NamedTuple):
    server: RunningServer
    stubs: Stubs
    socket: str


@pytest.fixture(scope="module")
def upstream(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    folder = tmp_path_factory.mktemp("contract")
    labels = "".join(f'version_labels {{ key: "{key}" value: {value} }}' for key, value in LABELS.items())
    config = ModelConfigFile(folder / "models.config").write(
        entry("default", DATA / "saved_model_half_plus_two_cpu"),
        entry("half_plus_three", DATA / "saved_model_half_plus_three"),
        entry("half_plus_two_tf2", DATA / "saved_model_half_plus_two_tf2_cpu"),
        entry("two_versions", DATA / "saved_model_half_plus_two_2_versions", f"{ALL} {labels}"),
        entry("constants", models / "no_inputs"),
        entry("rows", models / "half_plus_two_2d"),
    )
    with tempfile.TemporaryDirectory() as short:  # a socket's path has room for 107 bytes
        socket = f"{short}/grpc.sock"
        flags = (
            config,
            "--rest_api_timeout_in_ms=5000",
            f"--grpc_socket_path={socket}",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb,grpc.so_reuseaddr=1",
            "--allow_version_labels_for_unavailable_models",
        )
        with RunningServer(*flags, grpc=True) as server, Stubs(server.grpc_port) as stubs:
            yield Upstream(server, stubs, socket)


def check_predict(
    stubs: Stubs,
    model: str,
    expected: float,
    signature: str = "serving_default",
    batch: bool = False,
    output_filter: bool = True,
    version: int = 123,
) -> None:
    """The check that upstream's tests make of Predict, word for word."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(2.0)
    request.inputs["x"].tensor_shape.dim.add(size=1)
    if batch:
        request.inputs["x"].tensor_shape.dim.add(size=1)
    if output_filter:
        request.output_filter.append("y")
    result = stubs.prediction.Predict(request, 5.0)
    assert "y" in result.outputs
    assert result.outputs["y"].dtype == 1
    assert len(result.outputs["y"].float_val) == 1
    assert result.outputs["y"].float_val[0] == expected
    assert result.outputs["y"].tensor_content == b""
    assert result.model_spec == model_spec(model, version, signature)


@pytest.mark.parametrize("output_filter", [False, True])
@pytest.mark.parametrize(
    ("model", "expected"), [("default", 3.0), ("half_plus_two_tf2", 3.0), ("half_plus_three", 4.0), ("two_versions", 3.0)]
)
def test_predict(upstream: Upstream, model: str, expected: float, output_filter: bool) -> None:
    """REST on the same server says the same."""
    version = 124 if model == "two_versions" else 123
    check_predict(upstream.stubs, model, expected, output_filter=output_filter, version=version)
    answer = upstream.server.predict(model, {"instances": [2.0]})
    assert (answer.status, answer.json) == (200, {"predictions": [expected]})


def test_predict_in_a_batch(upstream: Upstream) -> None:
    check_predict(upstream.stubs, "default", 3.0, batch=True)
    check_predict(upstream.stubs, "rows", 3.0, batch=True, output_filter=False, version=1)


def test_predict_over_the_unix_socket(upstream: Upstream) -> None:
    with Stubs(f"unix:{upstream.socket}") as stubs:
        check_predict(stubs, "default", 3.0)
        assert states(stubs, "default") == {123: "AVAILABLE"}


def test_the_default_signature_is_echoed(upstream: Upstream) -> None:
    for model, version in (("default", 123), ("two_versions", 124)):
        answer = upstream.stubs.call(predict_request(model, {"x": floats(2.0)}))
        assert answer.model_spec == model_spec(model, version, "serving_default")


def test_a_signature_without_inputs(upstream: Upstream) -> None:
    answer = upstream.stubs.call(predict_request("constants", {}))
    assert list(answer.outputs["y"].float_val) == [1.0, 2.0, 3.0]
    assert answer.model_spec == model_spec("constants", 1, "serving_default")


def test_the_readiness_probe_of_upstreams_tests(upstream: Upstream) -> None:
    """They wait for an answer that has "Servable" in it."""
    request = predict_request("intentionally_missing_model", {"x": floats(2.0)})
    text = "Servable not found for request: Latest(intentionally_missing_model)"
    assert upstream.stubs.refusal(request) == Refusal("NOT_FOUND", text)


def test_fields_that_are_ignored(upstream: Upstream) -> None:
    request = predict_request("default", {"x": floats(2.0)})
    plain = upstream.stubs.call(request)
    request.client_id = b"somebody"
    request.predict_streamed_options.request_state = 1
    request.request_options.SetInParent()
    assert upstream.stubs.call(request) == plain


@pytest.mark.parametrize("model", ["default", "half_plus_two_tf2"])
def test_classify(upstream: Upstream, model: str) -> None:
    """Method names are not checked: all those of the TF2 export say predict."""
    answer = upstream.stubs.call(classify_request(model, "classify_x_to_y", TWO))
    ((only,),) = [list(one.classes) for one in answer.result.classifications]
    assert (only.label, only.score) == ("", 3.0)
    assert answer.model_spec == model_spec(model, 123, "classify_x_to_y")
    rest = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    assert upstream.server.ask("POST", f"/v1/models/{model}:classify", rest).json == {"results": [[["", 3.0]]]}


@pytest.mark.parametrize("model", ["default", "half_plus_two_tf2"])
def test_regress(upstream: Upstream, model: str) -> None:
    answer = upstream.stubs.call(regress_request(model, "regress_x_to_y", TWO))
    assert [one.value for one in answer.result.regressions] == [3.0]
    assert answer.model_spec == model_spec(model, 123, "regress_x_to_y")
    rest = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}
    assert upstream.server.ask("POST", f"/v1/models/{model}:regress", rest).json == {"results": [3.0]}


@pytest.mark.parametrize("model", ["default", "half_plus_two_tf2"])
def test_multi_inference(upstream: Upstream, model: str) -> None:
    regress, classify = model_spec(model, None, "regress_x_to_y"), model_spec(model, None, "classify_x_to_y")
    answer = upstream.stubs.call(multi_request((regress, REGRESS), (classify, CLASSIFY), examples=[TWO]))
    first, second = answer.results
    assert [one.value for one in first.regression_result.regressions] == [3.0]
    assert [[one.score for one in row.classes] for row in second.classification_result.classifications] == [[3.0]]
    assert first.model_spec == model_spec(model, 123, "regress_x_to_y")
    assert second.model_spec == model_spec(model, 123, "classify_x_to_y")


def test_the_first_task_chooses_the_version(upstream: Upstream) -> None:
    tasks = (
        (model_spec("two_versions", "stable", "regress_x_to_y"), REGRESS),
        (model_spec("two_versions", 124, "classify_x_to_y"), CLASSIFY),
        (model_spec("two_versions", "no such label", "regress_x_to_y2"), REGRESS),
    )
    answer = upstream.stubs.call(multi_request(*tasks, examples=[TWO]))
    assert [result.model_spec.version.value for result in answer.results] == [123, 123, 123]


@pytest.mark.parametrize("make", [classify_request, regress_request], ids=["classify", "regress"])
def test_many_examples_come_back_in_order(upstream: Upstream, make: Any) -> None:
    numbers = [float(number) for number in range(300)]
    signature = "regress_x_to_y" if make is regress_request else "classify_x_to_y"
    result = upstream.stubs.call(make("default", signature, *(example(x=number) for number in numbers))).result
    values = (
        [one.value for one in result.regressions]
        if make is regress_request
        else [one.classes[0].score for one in result.classifications]
    )
    assert values == [number / 2 + 2 for number in numbers]


def test_the_context_gives_way_to_an_example(upstream: Upstream) -> None:
    examples, context = [example(), TWO, example(other=b"a")], example(x=10.0)
    regressed = upstream.stubs.call(regress_request("default", "regress_x_to_y", *examples, context=context))
    assert [one.value for one in regressed.result.regressions] == [7.0, 3.0, 7.0]
    task = (model_spec("default", None, "regress_x_to_y"), REGRESS)
    multi = upstream.stubs.call(multi_request(task, examples=examples, context=context))
    assert [one.value for one in multi.results[0].regression_result.regressions] == [7.0, 3.0, 7.0]


def test_the_clients_flow_with_futures_and_callbacks(upstream: Upstream) -> None:
    """As the clients of upstream's tutorials send: many at a time, and each result is told of."""
    done: queue.SimpleQueue[tuple[float, Any]] = queue.SimpleQueue()
    numbers = [float(number) for number in range(100)]
    for number in numbers:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "default"
        request.model_spec.signature_name = "serving_default"
        request.inputs["x"].CopyFrom(floats(number))
        future = upstream.stubs.prediction.Predict.future(request, 5.0)
        future.add_done_callback(lambda future, number=number: done.put((number, future)))
    came = dict(done.get(timeout=10) for _ in numbers)
    assert all(future.exception() is None for future in came.values())
    assert {number: future.result().outputs["y"].float_val[0] for number, future in came.items()} == {
        number: number / 2 + 2 for number in numbers
    }


def test_status(upstream: Upstream) -> None:
    answer = upstream.stubs.call(status_request("default"))
    (only,) = answer.model_version_status
    assert (only.version, only.state) == (123, status_pb2.ModelVersionStatus.AVAILABLE)
    assert only.HasField("status")
    assert (only.status.error_code, only.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("choice", "versions"),
    [(None, [124, 123]), (123, [123]), (124, [124]), ("stable", [124, 123]), ("no such label", [124, 123])],
)
def test_status_of_versions(upstream: Upstream, choice: Choice, versions: list[int]) -> None:
    """A label means nothing here."""
    answer = upstream.stubs.call(status_request("two_versions", choice))
    assert [one.version for one in answer.model_version_status] == versions


@pytest.mark.parametrize("model", ["default", "half_plus_two_tf2"])
def test_metadata(upstream: Upstream, model: str) -> None:
    answer = upstream.stubs.call(metadata_request(model, "signature_def"))
    assert answer.model_spec == model_spec(model, 123)
    assert list(answer.metadata) == ["signature_def"]
    found = metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].type_url.rpartition("/")[2] == "tensorflow.serving.SignatureDefMap"
    assert answer.metadata["signature_def"].Unpack(found)
    folder = {"default": "saved_model_half_plus_two_cpu", "half_plus_two_tf2": "saved_model_half_plus_two_tf2_cpu"}[model]
    assert found.signature_def == saved_signatures(DATA / folder / "00000123")


def saved_signatures(version: Path) -> Any:
    saved = message_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    saved.ParseFromString((version / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def


@pytest.mark.parametrize(("choice", "version"), [(None, 124), (123, 123), ("stable", 123), ("né/w: ?%", 124)])
def test_metadata_of_versions(upstream: Upstream, choice: Choice, version: int) -> None:
    request = metadata_request("two_versions", "signature_def", "signature_def", choice=choice)
    assert upstream.stubs.call(request).model_spec == model_spec("two_versions", version)


def asking(model: str, choice: Choice) -> Iterator[Any]:
    """A request to every method that resolves a model spec."""
    yield predict_request(model, {"x": floats(2.0)}, choice=choice)
    yield classify_request(model, "classify_x_to_y", TWO, choice=choice)
    yield regress_request(model, "regress_x_to_y", TWO, choice=choice)
    yield multi_request((model_spec(model, choice, "regress_x_to_y"), REGRESS), examples=[TWO])
    yield metadata_request(model, "signature_def", choice=choice)


@pytest.mark.parametrize(
    ("choice", "version"), [(None, 124), (123, 123), (124, 124), *((label, number) for label, number in LABELS.items())]
)
def test_which_version_answers(upstream: Upstream, choice: Choice, version: int) -> None:
    for request in asking("two_versions", choice):
        answer = upstream.stubs.call(request)
        spec = answer.results[0].model_spec if hasattr(answer, "results") else answer.model_spec
        assert (spec.name, spec.version.value, spec.version_label) == ("two_versions", version, ""), request


SERVABLE = "Servable not found for request: "
UNRECOGNIZED = "Unrecognized servable version label: "


@pytest.mark.parametrize(
    ("model", "choice", "code", "text"),
    [
        ("", None, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("", 123, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("", "stable", "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("nope", None, "NOT_FOUND", f"{SERVABLE}Latest(nope)"),
        ("nope", 123, "NOT_FOUND", f"{SERVABLE}Specific(nope, 123)"),
        ("two_versions", 7, "NOT_FOUND", f"{SERVABLE}Specific(two_versions, 7)"),
        ("two_versions", 0, "NOT_FOUND", f"{SERVABLE}Specific(two_versions, 0)"),
        ("two_versions", -1, "NOT_FOUND", f"{SERVABLE}Specific(two_versions, -1)"),
        ("two_versions", -(1 << 63), "NOT_FOUND", f"{SERVABLE}Specific(two_versions, {-(1 << 63)})"),
        ("two_versions", (1 << 63) - 1, "NOT_FOUND", f"{SERVABLE}Specific(two_versions, {(1 << 63) - 1})"),
        ("two_versions", "canary", "INVALID_ARGUMENT", f"{UNRECOGNIZED}canary"),
        ("two_versions", "", "INVALID_ARGUMENT", UNRECOGNIZED),
        ("default", "stable", "INVALID_ARGUMENT", f"{UNRECOGNIZED}stable"),
        ("nope", "stable", "INVALID_ARGUMENT", f"{UNRECOGNIZED}stable"),
        ("n\0pé", None, "NOT_FOUND", f"{SERVABLE}Latest(n\0pé)"),
    ],
)
def test_which_version_does_not(upstream: Upstream, model: str, choice: Choice, code: str, text: str) -> None:
    for request in asking(model, choice):
        assert upstream.stubs.refusal(request) == Refusal(code, text), request


def test_no_model_spec(upstream: Upstream) -> None:
    for request in asking("default", None):
        if hasattr(request, "tasks"):
            request.tasks[0].ClearField("model_spec")
            text = "ModelSpec has no name specified."
        else:
            request.ClearField("model_spec")
            text = "Missing ModelSpec"
        assert upstream.stubs.refusal(request) == Refusal("INVALID_ARGUMENT", text), request
        for one in getattr(request, "tasks", [request]):
            one.model_spec.SetInParent()
        assert upstream.stubs.refusal(request) == Refusal("INVALID_ARGUMENT", "ModelSpec has no name specified.")


@pytest.mark.parametrize(
    ("choices", "version"),
    [
        ([124, "stable"], 123),
        (["stable", 124], 124),
        ([0, 123], 123),
        (["no such label", "stable"], 123),
        ([123, "no such label", 124], 124),
    ],
)
def test_of_several_choices_the_last_one_counts(upstream: Upstream, choices: list[int | str], version: int) -> None:
    """No client library writes more than one, but bytes can have them: what comes twice is merged."""
    for method, asked, answer in (
        ("Predict", predict_request("two_versions", {"x": floats(2.0)}), predict_pb2.PredictResponse),
        ("Classify", classify_request("two_versions", "classify_x_to_y", TWO), classification_pb2.ClassificationResponse),
        ("Regress", regress_request("two_versions", "regress_x_to_y", TWO), regression_pb2.RegressionResponse),
        ("GetModelMetadata", metadata_request("two_versions", "signature_def"), metadata_pb2.GetModelMetadataResponse),
    ):
        specs = [type(asked)(model_spec=model_spec("", choice)).SerializeToString() for choice in choices]
        received = upstream.stubs.send(method, asked.SerializeToString() + b"".join(specs))
        assert isinstance(received, bytes), (method, received)
        assert answer.FromString(received).model_spec.version.value == version, method


def test_a_label_whose_version_has_gone(tmp_path: Path) -> None:
    base = tmp_path / "half"
    for version in ("00000123", "00000124"):
        publish(DATA / "saved_model_half_plus_two_2_versions" / version, base / version)
    config = ModelConfigFile(tmp_path / "models.config")
    flag = config.write(entry("half", base, ALL + ' version_labels { key: "canary" value: 124 }'))
    allow = "--allow_version_labels_for_unavailable_models"
    with RunningServer(flag, allow, grpc=True) as server, Stubs(server.grpc_port) as stubs:
        request = predict_request("half", {"x": floats(2.0)}, choice="canary")
        assert stubs.call(request).model_spec.version.value == 124
        (base / "00000124").rename(tmp_path / "withdrawn")
        server.wait_for_states("half", {124: "END", 123: "AVAILABLE"})
        assert states(stubs, "half") == {124: "END", 123: "AVAILABLE"}
        assert stubs.refusal(request) == Refusal("NOT_FOUND", f"{SERVABLE}Specific(half, 124)")
        check_predict(stubs, "half", 3.0)


def test_a_port_that_opens_when_the_models_are_there(tmp_path: Path) -> None:
    """The first call is answered, once one can be made."""
    flags = "--model_name=default", f"--model_base_path={DATA / 'saved_model_half_plus_two_cpu'}"
    server = RunningServer(*flags, grpc=True)
    server.begin()
    try:
        with Stubs(server.grpc_port) as stubs:
            request = predict_request("default", {"x": floats(2.0)}, outputs=["y"])
            answer = stubs.prediction.Predict(request, 30.0, wait_for_ready=True)
            assert answer.outputs["y"].float_val[0] == 3.0
            with pytest.raises(grpc.RpcError):
                stubs.call(predict_request("nope", {}))
    finally:
        server.end()
