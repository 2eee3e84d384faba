"""Other lists of models while a server runs: asked for over gRPC, or written to the file that it follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from end_to_end import gated_folder
from end_to_end.conftest import DATA
from end_to_end.grpc_stubs import Refusal, Stubs, floats, management_pb2, predict_request, reload_request, states
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import publish
from end_to_end.waiting import wait_until

LIMIT = 15
TWO, THREE = DATA / "saved_model_half_plus_two_cpu", DATA / "saved_model_half_plus_three"
VERSIONS = DATA / "saved_model_half_plus_two_2_versions"
X = {"x": floats(2.0)}


def model(name: str, base: Path | str = TWO, platform: str = "tensorflow", **fields: Any) -> dict[str, Any]:
    return {"name": name, "base_path": str(base), "model_platform": platform, **fields}


def all_versions(name: str, base: Path | str = VERSIONS, **fields: Any) -> dict[str, Any]:
    return model(name, base, model_version_policy={"all": {}}, **fields)


class Reloaded(NamedTuple):
    """Every test brings its own list of models."""

    server: RunningServer
    stubs: Stubs

    def refusal(self, *models: dict[str, Any]) -> Refusal:
        return self.stubs.refusal(reload_request(*models))

    def apply(self, *models: dict[str, Any], metrics: tuple[str, ...] = ()) -> Any:
        answer = self.stubs.call(reload_request(*models, metrics=metrics))
        assert answer.HasField("status")
        assert (answer.status.error_code, answer.status.error_message) == (0, "")
        return answer

    def predicted(self, name: str, choice: int | str | None = None) -> tuple[int, float]:
        """Which version has answered, and what."""
        answer = self.stubs.call(predict_request(name, X, choice=choice))
        return answer.model_spec.version.value, answer.outputs["y"].float_val[0]


@pytest.fixture(scope="module")
def reloaded() -> Iterator[Reloaded]:
    flags = "--model_name=default", f"--model_base_path={TWO}"
    once = "--max_num_load_retries=0"
    running = RunningServer(*flags, once, environment=gated_folder.ENVIRONMENT, grpc=True)
    with running as server, Stubs(server.grpc_port) as stubs:
        yield Reloaded(server, stubs)


def test_models_come_and_go(reloaded: Reloaded) -> None:
    """Those that are new can be asked when the call returns."""
    reloaded.apply(model("two"))
    assert reloaded.predicted("two") == (123, 3.0)
    reloaded.apply(model("two"), model("three", THREE))
    assert reloaded.predicted("three") == (123, 4.0)
    reloaded.apply(model("three", THREE))
    wait_until(lambda: states(reloaded.stubs, "two") == {123: "END"}, LIMIT, "the other one's end")
    text = "Servable not found for request: Latest(two)"
    assert reloaded.stubs.refusal(predict_request("two", X)) == Refusal("NOT_FOUND", text)
    reloaded.apply(model("three", THREE), model("two"))
    assert reloaded.predicted("two") == (123, 3.0)


def test_the_same_list_again(reloaded: Reloaded) -> None:
    for _ in range(3):
        reloaded.apply(model("same"), model("three", THREE))
        assert reloaded.predicted("same") == (123, 3.0)


def test_no_models_at_all(reloaded: Reloaded) -> None:
    reloaded.apply(model("alone"))
    reloaded.apply()
    wait_until(lambda: states(reloaded.stubs, "alone") == {123: "END"}, LIMIT, "its end")
    assert reloaded.stubs.refusal(predict_request("alone", X)).code == "NOT_FOUND"
    reloaded.apply(model("alone"))
    assert reloaded.predicted("alone") == (123, 3.0)


def test_the_deprecated_type_of_a_model(reloaded: Reloaded) -> None:
    reloaded.apply({"name": "typed", "base_path": str(TWO), "model_type": 1})
    assert reloaded.predicted("typed") == (123, 3.0)
    reloaded.apply(model("typed"))
    assert reloaded.predicted("typed") == (123, 3.0)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, [124]),
        ({"latest": {"num_versions": 2}}, [124, 123]),
        ({"all": {}}, [124, 123]),
        ({"specific": {"versions": [123]}}, [123]),
    ],
)
def test_policies(reloaded: Reloaded, policy: dict[str, Any], expected: list[int]) -> None:
    name = f"of_{'_'.join(policy) or 'none'}"
    reloaded.apply(model(name, VERSIONS, model_version_policy=policy))
    wait_until(
        lambda: [v for v, state in states(reloaded.stubs, name).items() if state == "AVAILABLE"] == expected,
        LIMIT,
        "versions",
    )


def test_labels(reloaded: Reloaded) -> None:
    """They can be put on what is there, move, and go when a list leaves them out."""
    reloaded.apply(all_versions("labelled"))
    wait_until(lambda: set(states(reloaded.stubs, "labelled").values()) == {"AVAILABLE"}, LIMIT, "both versions")
    for labels in ({"stable": 123, "canary": 124}, {"stable": 124}):
        reloaded.apply(all_versions("labelled", version_labels=labels))
        for label, version in labels.items():
            wait_until(lambda: asked(reloaded, label) == version, LIMIT, f"{label} on {version}")  # noqa: B023
    text = "Unrecognized servable version label: canary"
    wait_until(lambda: asked(reloaded, "canary") == Refusal("INVALID_ARGUMENT", text), LIMIT, "no canary")


def asked(reloaded: Reloaded, label: str) -> int | Refusal:
    try:
        return reloaded.predicted("labelled", label)[0]
    except grpc.RpcError as error:
        return Refusal(error.code().name, error.details())


def test_metrics(reloaded: Reloaded) -> None:
    names = ("/tensorflow/serving/request_count", "nope", "nope", "/tensorflow/core/graph_runs")
    answer = reloaded.apply(model("measured"), metrics=names)
    found = {metric.name: metric.int64_value_increase for metric in answer.metric}
    assert set(found) == set(names)
    assert len(answer.metric) == 3
    assert found["nope"] == 0
    assert all(value >= 0 for value in found.values())


KEPT = model("kept")
NEITHER = "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform"
BOTH = "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform"
REFUSED: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "twice": ([model("a"), model("a", THREE)], "INVALID_ARGUMENT", "Illegal to list model a multiple times in config list"),
    "relative": (
        [model("a", "models/a")],
        "INVALID_ARGUMENT",
        "Expected model a to have an absolute path or URI; got base_path()=models/a",
    ),
    "no-path": ([model("a", "")], "INVALID_ARGUMENT", "Expected model a to have an absolute path or URI; got base_path()="),
    "other-platform": (
        [model("kept", platform="caffe")],
        "INVALID_ARGUMENT",
        "Illegal to change a model's platform. For model kept platform was tensorflow and new platform requested is caffe",
    ),
    "platform": ([model("a", platform="caffe")], "INVALID_ARGUMENT", "Model a requests unsupported platform caffe"),
    "no-platform": ([model("a", platform="")], "INVALID_ARGUMENT", f"{NEITHER}, model name is a"),
    "no-platform-of-one-that-is-there": ([model("kept", platform="")], "INVALID_ARGUMENT", f"{NEITHER}, model name is kept"),
    "both": ([model("a", model_type=1)], "INVALID_ARGUMENT", f"{BOTH}, model name is a"),
    "type": (
        [model("a", platform="", model_type=2)],
        "INVALID_ARGUMENT",
        "ModelServerConfig::model_type choice 2 not supported.",
    ),
    "label": (
        [all_versions("a", version_labels={"stable": 123})],
        "FAILED_PRECONDITION",
        "Request to assign label to version 123 of model a, which is not currently available for inference",
    ),
    "label-of-one-that-is-there": (
        [model("kept", version_labels={"stable": 7})],
        "FAILED_PRECONDITION",
        "Request to assign label to version 7 of model kept, which is not currently available for inference",
    ),
    "logging": ([model("a", logging_config={})], "INVALID_ARGUMENT", "No request-logger-creator provided."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(reloaded: Reloaded, name: str) -> None:
    """And the next list is taken: upstream would refuse every later one after some of these."""
    models, code, text = REFUSED[name]
    reloaded.apply(KEPT)
    assert reloaded.refusal(*models) == Refusal(code, text)
    assert reloaded.predicted("kept") == (123, 3.0)
    assert states(reloaded.stubs, "a") == {}
    reloaded.apply(KEPT, model("three", THREE))
    assert reloaded.predicted("three") == (123, 4.0)


def test_what_is_no_list_of_models(reloaded: Reloaded) -> None:
    kind = "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
    expected = Refusal("INVALID_ARGUMENT", kind)
    request = management_pb2.ReloadConfigRequest()
    assert reloaded.stubs.refusal(request) == expected
    request.config.SetInParent()
    assert reloaded.stubs.refusal(request) == expected
    request.config.custom_model_config.SetInParent()
    assert reloaded.stubs.refusal(request) == expected
    received = reloaded.stubs.send("/tensorflow.serving.ModelService/HandleReloadConfigRequest", b"\xff\xff")
    assert isinstance(received, Refusal)
    assert received.code == "INVALID_ARGUMENT"


def test_a_model_that_cannot_be_loaded(reloaded: Reloaded, models: Path) -> None:
    """The others of the list are there all the same, and so is what can be known of it."""
    code, text = reloaded.refusal(model("broken", models / "broken"), model("beside", THREE))
    assert code == "UNKNOWN"
    start = "1 model(s) did not become available: {{{name: broken version: 1} due to error: "
    assert text.startswith(start), text
    assert text.endswith("}, }"), text
    assert reloaded.predicted("beside") == (123, 4.0)
    assert states(reloaded.stubs, "broken") == {1: "END"}
    assert reloaded.stubs.refusal(predict_request("broken", X)).code == "NOT_FOUND"
    reloaded.apply(model("beside", THREE))


def test_a_client_that_does_not_wait(reloaded: Reloaded, tmp_path: Path) -> None:
    """Takes nothing back, and holds up no other reload."""
    with gated_folder.gated(tmp_path / "gated") as base:
        stuck = model("stuck", base, gated_folder.PLATFORM)
        late = reloaded.stubs.refusal(reload_request(KEPT, stuck), 1.0)
        assert late.code == "DEADLINE_EXCEEDED"
        reloaded.apply(KEPT, stuck, model("later", THREE))
        assert reloaded.predicted("later") == (123, 4.0)
        assert states(reloaded.stubs, "stuck") == {1: "LOADING"}
        gated_folder.open_gate(base)
        wait_until(lambda: states(reloaded.stubs, "stuck") == {1: "AVAILABLE"}, LIMIT, "the model")
        reloaded.apply(KEPT)


def test_a_reload_waits_for_new_models(reloaded: Reloaded, tmp_path: Path) -> None:
    with gated_folder.gated(tmp_path / "gated") as base:
        call = reloaded.stubs.begin(reload_request(KEPT, model("awaited", base, gated_folder.PLATFORM)), 60)
        wait_until(lambda: states(reloaded.stubs, "awaited") == {1: "LOADING"}, LIMIT, "the load's begin")
        assert not call.done()
        gated_folder.open_gate(base)
        assert call.result(timeout=30).status.error_code == 0
        assert states(reloaded.stubs, "awaited") == {1: "AVAILABLE"}
        reloaded.apply(KEPT)


def test_a_model_whose_folder_is_empty_keeps_nobody_waiting_for_ever(tmp_path: Path) -> None:
    """Upstream would wait, and refuse every later reload."""
    flags = "--model_name=default", f"--model_base_path={TWO}", "--reload_timeout=1"
    with RunningServer(*flags, grpc=True) as server, Stubs(server.grpc_port) as stubs:
        base = tmp_path / "late"
        for path in (base, tmp_path / "none"):
            code, text = stubs.refusal(reload_request(model("default"), model("late", path)))
            assert code == "UNKNOWN", text
            assert text.startswith("1 model(s) did not become available: "), text
            base.mkdir(exist_ok=True)
            stubs.call(reload_request(model("default")))
        stubs.refusal(reload_request(model("default"), model("late", base)))
        publish(TWO / "00000123", base / "00000123")
        wait_until(lambda: states(stubs, "late") == {123: "AVAILABLE"}, LIMIT, "the model, once it is there")


def from_file(period: int, tmp_path: Path) -> tuple[ModelConfigFile, list[str]]:
    file = ModelConfigFile(tmp_path / "models.config")
    return file, [file.write(entry("half_plus_two", TWO)), f"--model_config_file_poll_wait_seconds={period}"]


def answer(stubs: Stubs, name: str) -> float:
    return float(stubs.call(predict_request(name, X)).outputs["y"].float_val[0])


def test_a_file_that_is_followed(tmp_path: Path) -> None:
    file, flags = from_file(1, tmp_path)
    with RunningServer(*flags, grpc=True) as server, Stubs(server.grpc_port) as stubs:
        assert answer(stubs, "half_plus_two") == 3.0
        file.write(entry("half_plus_three", THREE))
        wait_until(lambda: states(stubs, "half_plus_three") == {123: "AVAILABLE"}, LIMIT, "the new model")
        assert answer(stubs, "half_plus_three") == 4.0
        wait_until(lambda: states(stubs, "half_plus_two") == {123: "END"}, LIMIT, "the old one's end")


def test_a_file_that_is_read_once(tmp_path: Path) -> None:
    file, flags = from_file(0, tmp_path)
    with RunningServer(*flags, grpc=True) as server, Stubs(server.grpc_port) as stubs:
        file.write(entry("half_plus_three", THREE))
        stubs.call(reload_request(model("half_plus_two")))  # by which it had time to look, if it did
        assert answer(stubs, "half_plus_two") == 3.0
        assert states(stubs, "half_plus_three") == {}
