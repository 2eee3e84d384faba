"""The client commands against a real server, and what a command line that is wrong leads to."""

from __future__ import annotations

import json
import subprocess

import pytest

from end_to_end.running_server import RINGSERVE, TENSORFLOW_MODEL_SERVER, RunningServer, free_port, run_to_its_end

LIMIT = 30


def ringserve(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [RINGSERVE[0], *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=LIMIT, check=False, cwd="/")


def url(server: RunningServer) -> str:
    return f"--url=http://127.0.0.1:{server.port}"


def test_predict_instances(catalogue: RunningServer) -> None:
    done = ringserve("predict", url(catalogue), "half_plus_two", "--input=[2.0, 4.0]")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"predictions": [4.0, 5.0]}


def test_predict_a_version_and_a_signature(catalogue: RunningServer) -> None:
    done = ringserve("predict", url(catalogue), "half_plus_two", "--version=1", "--input=[2.0]")
    assert json.loads(done.stdout) == {"predictions": [3.0]}
    done = ringserve("predict", url(catalogue), "identity", "--signature=int8", "--input=[[1, 2]]")
    assert json.loads(done.stdout) == {"predictions": [[1, 2]]}


def test_predict_named_inputs(catalogue: RunningServer) -> None:
    done = ringserve("predict", url(catalogue), "two_inputs", "--input", "a=[[1, 2, 3]]", "--input", "b=[4]")
    assert json.loads(done.stdout) == {"outputs": {"count": [4], "sum": [[5.0, 6.0, 7.0]]}}


def test_predict_a_whole_request_from_standard_input(catalogue: RunningServer) -> None:
    done = ringserve("predict", url(catalogue), "scalar", "--input=-", stdin='{"inputs": 3.5}')
    assert json.loads(done.stdout) == {"outputs": 7.0}


def test_the_servers_own_words_for_an_error(catalogue: RunningServer) -> None:
    done = ringserve("predict", url(catalogue), "nope", "--input=[1]")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Servable not found for request: Latest(nope)\n"


def test_status(catalogue: RunningServer) -> None:
    done = ringserve("status", url(catalogue), "two_versions")
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["VERSION", "STATE", "ERROR"],
        ["124", "AVAILABLE"],
        ["123", "AVAILABLE"],
    ]
    done = ringserve("status", url(catalogue), "--json")
    assert json.loads(done.stdout)["model_version_status"][0]["version"] == "123"


def test_nobody_there() -> None:
    done = ringserve("status", f"--url=http://127.0.0.1:{free_port()}", "m")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize("command", [RINGSERVE, TENSORFLOW_MODEL_SERVER])
def test_an_unknown_flag_ends_with_2_and_the_nearest_name(command: tuple[str, ...]) -> None:
    code, log = run_to_its_end("--model_base_pth=/m", command=command)
    assert code == 2
    assert "model_base_pth" in log
    assert "--model_base_path" in log
    assert len(log.splitlines()) == 2


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ((), "Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (
            ("--model_base_path=relative",),
            "Expected model default to have an absolute path or URI; got base_path()=relative",
        ),
        (("--model_base_path=/m", "--devices=tpu:1"), "Couldn't interpret devices 'tpu:1'"),
        (("--model_base_path=/m", "--max_request_bytes=0"), "server_options.max_request_bytes must be at least 1, not 0."),
    ],
)
def test_flags_that_make_no_server(flags: tuple[str, ...], text: str) -> None:
    code, log = run_to_its_end(*flags)
    assert code == 255
    line = log.splitlines()[-1]
    assert line.startswith("Failed to start server. Error: INVALID_ARGUMENT: ")
    assert text in line
    assert "Traceback" not in log


def test_upstreams_command_serves(models_folder: str) -> None:
    with RunningServer(f"--model_base_path={models_folder}", command=TENSORFLOW_MODEL_SERVER) as server:
        assert server.predict("default", {"instances": [2.0]}).json == {"predictions": [4.0]}


@pytest.fixture
def models_folder(models: object) -> str:
    return f"{models}/half_plus_two"
