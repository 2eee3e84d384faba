"""Requests that come with a version and are run before it is available."""

from __future__ import annotations

import re
from pathlib import Path

import prediction_logs as logs
import pytest

from end_to_end.conftest import Serve
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.test_cli import ringserve
from end_to_end.version_folders import predicted, publish

LIMIT = 15


def with_requests(source: Path, folder: Path, *requests: bytes) -> None:
    """Publish a version with these serialized PredictionLogs."""
    scratch = folder.parent.parent / f"scratch-{folder.parent.name}-{folder.name}"
    publish(source, scratch)
    logs.write_file(scratch, logs.framed(*requests))
    publish(scratch, folder)


def predict_log(alias: str, *numbers: float) -> bytes:
    made: bytes = logs.predict_log({alias: logs.tensor_proto(numbers)}).SerializeToString()
    return made


def shown(server: RunningServer, model: str) -> str:
    """The model's part of `ringserve models status`."""
    done = ringserve("models", "status", model, f"--port={server.port}")
    return done.stdout.partition("\n\n")[0]


@pytest.fixture
def source(models: Path) -> Path:
    return models / "half_plus_two" / "2"


def test_requests_of_a_version(source: Path, tmp_path: Path, serve: Serve) -> None:
    good, bad, torn = tmp_path / "good", tmp_path / "bad", tmp_path / "torn"
    with_requests(source, good / "1", predict_log("x", 1.0), predict_log("x", 1.0, 2.0), predict_log("x", 3.0))
    with_requests(source, bad / "1", predict_log("x", 1.0), predict_log("weight", 1.0))
    with_requests(source, torn / "1", predict_log("x", 1.0))
    file = torn / "1" / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-1])
    config = ModelConfigFile(tmp_path / "models.config")
    flag = config.write(*(entry(base.name, base) for base in (good, bad, torn)))
    server = serve(flag, "--num_request_iterations_for_warmup=2")

    assert predicted(server, "good") == 4.0
    (version,) = server.described("good")["versions"]
    assert (version["warm_up"]["source"], version["warm_up"]["requests"]) == ("file", 6)
    assert re.search(r"^ +1 +AVAILABLE .* file: 6 in \d+\.\d\d s", shown(server, "good"), re.MULTILINE)
    assert 'ringserve_warm_up_requests{model="good",source="file",version="1"} 6.0' in server.get("/metrics").body.decode()

    assert server.states("bad") == {1: "END"}
    code, text = server.version_error("bad", 1)
    assert code == "INVALID_ARGUMENT"
    assert "weight" in text
    assert "weight" in shown(server, "bad")
    assert server.states("torn") == {1: "END"}
    assert server.version_error("torn", 1)[0] == "DATA_LOSS"

    with_requests(source, bad / "1", predict_log("x", 1.0))
    server.wait_for_states("bad", {1: "AVAILABLE"}, LIMIT)
    assert predicted(server, "bad") == 4.0


def test_without_warm_up_the_requests_are_not_looked_at(source: Path, tmp_path: Path, serve: Serve) -> None:
    with_requests(source, tmp_path / "m" / "1", predict_log("weight", 1.0))
    server = serve("--model_name=m", f"--model_base_path={tmp_path}/m", "--enable_model_warmup=false")
    assert predicted(server, "m") == 4.0
    assert server.described("m")["versions"][0]["warm_up"]["source"] == "off"
