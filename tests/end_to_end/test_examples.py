"""The example models as a reader of the documentation makes them: by the command line."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from end_to_end.running_server import RunningServer

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("half_plus_two", "iris", "mnist")
TIME_LIMIT = 120


class Trained(NamedTuple):
    """Where the models are, and what was printed on the way."""

    folder: Path
    printed: str


def run_example(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m examples.<module>`` from the root of the repository."""
    return subprocess.run(
        [sys.executable, "-m", f"examples.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )


def train(folder: Path, *arguments: str) -> Trained:
    """Run the training, which must end well and leave the log noise of TensorFlow out."""
    done = run_example("train", "--output", str(folder), *arguments)
    assert done.returncode == 0, done.stderr
    assert "InitializeLog" not in done.stderr
    return Trained(folder, done.stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    # A name that needs quoting on the way into the server configuration.
    return train(tmp_path_factory.mktemp("examples") / 'the "models"')


def version_stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name / "1" / "saved_model.pb").stat().st_mtime_ns for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_each_model_has_one_version_and_nothing_left_beside_it(trained: Trained, name: str) -> None:
    assert [entry.name for entry in (trained.folder / name).iterdir()] == ["1"]
    assert (trained.folder / name / "1" / "saved_model.pb").stat().st_size > 0
    assert (trained.folder / name / "1" / "variables" / "variables.index").exists()


@pytest.mark.parametrize("name", ["iris", "mnist"])
def test_the_accuracy_on_held_out_data_is_printed(trained: Trained, name: str) -> None:
    found = re.search(rf"^{name}: accuracy (\d\.\d+) on \d+ held-out", trained.printed, re.MULTILINE)
    assert found is not None, trained.printed
    assert float(found[1]) >= 0.9


def test_the_server_configuration_names_every_model(trained: Trained) -> None:
    text = (trained.folder / "models.config").read_text(encoding="utf-8")
    names = re.findall(r'name: "(.*)"', text)
    paths = [json.loads(found) for found in re.findall(r"base_path: (.*)", text)]
    assert names == list(MODELS)
    assert paths == [str(trained.folder / name) for name in MODELS]
    assert text.count('model_platform: "tensorflow"') == len(MODELS)


def test_the_stored_requests_say_what_is_right(trained: Trained) -> None:
    requests = json.loads((trained.folder / "requests.json").read_text(encoding="utf-8"))
    assert {request["model"] for request in requests} == set(MODELS)
    for request in requests:
        rows: list[Any] = request["body"].get("instances") or request["body"]["examples"]
        assert len(rows) == len(request["expected"])


def test_the_example_has_every_feature_as_a_float(trained: Trained) -> None:
    """A whole number in JSON would be an integer feature, which the model refuses."""
    requests = json.loads((trained.folder / "requests.json").read_text(encoding="utf-8"))
    (body,) = [each["body"] for each in requests if each["verb"] == "classify"]
    (example,) = body["examples"]
    assert set(example) == {"sepal_length", "sepal_width", "petal_length", "petal_width"}
    assert all(type(value) is float for value in example.values())


def test_requests_are_printed_as_lines_for_a_shell(trained: Trained) -> None:
    done = run_example("requests", "--output", str(trained.folder), "--port", "8123")
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("curl ")]
    verbs = [*(f"{name}:predict" for name in MODELS), "iris:classify"]
    assert {command[-1] for command in commands} == {f"http://localhost:8123/v1/models/{verb}" for verb in verbs}
    stored = json.loads((trained.folder / "requests.json").read_text(encoding="utf-8"))
    assert [json.loads(command[2]) for command in commands] == [request["body"] for request in stored]


def test_requests_for_models_not_trained_say_how_to_train_them(tmp_path: Path) -> None:
    done = run_example("requests", "--output", str(tmp_path))
    assert done.returncode == 1
    assert "python -m examples.train" in done.stderr


def test_what_is_there_is_left_alone_unless_forced(trained: Trained) -> None:
    before = version_stamps(trained.folder)
    again = train(trained.folder)
    assert again.printed.count("already in") == len(MODELS)
    assert version_stamps(trained.folder) == before

    train(trained.folder, "--force")
    after = version_stamps(trained.folder)
    assert all(after[name] > before[name] for name in MODELS)
    assert [entry.name for entry in (trained.folder / "iris").iterdir()] == ["1"]


def test_latencies_stand_side_by_side(trained: Trained, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/zmq"
    flags = (f"--model_config_file={trained.folder / 'models.config'}", f"--zmq_endpoint={endpoint}")
    with RunningServer(*flags, grpc=True, zmq=True, shm=True) as server:
        urls = {
            "REST": f"http://127.0.0.1:{server.port}",
            "gRPC": f"grpc://127.0.0.1:{server.grpc_port}",
            "ZeroMQ, tcp": server.zmq_url,
            "ZeroMQ, ipc": f"zmq+{endpoint}",
            "shared memory": f"shm://{server.shm_socket}",
        }
        absent = f"shm://{tmp_path}/none"
        done = run_example("latency", "--calls=20", "--rows=3", *(f"--url={url}" for url in (*urls.values(), absent)))
        assert done.returncode == 0, done.stdout + done.stderr
        heading, *lines, last = done.stdout.splitlines()
        assert heading.split() == ["p50", "p99"]
        for line, (name, url) in zip(lines, urls.items(), strict=True):
            found = re.fullmatch(rf"{name} +{re.escape(url)} +(\d+) us +(\d+) us", line)
            assert found is not None, done.stdout
            assert 0 < int(found[1]) <= int(found[2])
        assert re.fullmatch(rf"shared memory +{re.escape(absent)} +not available: UNAVAILABLE: .+", last)


def test_without_a_server_there_are_no_latencies(tmp_path: Path) -> None:
    done = run_example("latency", f"--url=shm://{tmp_path}/none", "--url=carrier://pigeon")
    assert done.returncode == 1
    assert done.stdout.count("not available: ") == 2
    assert "Traceback" not in done.stderr
