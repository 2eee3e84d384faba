"""TensorFlow Serving's batching parameters on a running server: what it refuses at start, at load, and of requests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from end_to_end import gated_folder
from end_to_end.conftest import Serve
from end_to_end.http_answer import Answer
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.plugin_modules.held import HOLD
from end_to_end.running_server import RunningServer, run_to_its_end
from end_to_end.waiting import wait_until

MANY = 40  # requests: more than run at a time
FULL = "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued"
TOO_LATE = "Run() timeout exceeded while waiting in batching queue"


def written(path: Path, text: str) -> str:
    """The flags for these parameters."""
    path.write_text(text)
    return f"--batching_parameters_file={path}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max_batch_size: 4", "Invalid protobuf file: '{path}'"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
    ],
)
def test_parameters_that_make_no_server(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "batching.config"
    code, log = run_to_its_end("--model_base_path=/m", "--enable_batching", written(path, text))
    assert code == 255
    start = "Failed to start server. Error: INVALID_ARGUMENT: "
    assert log.splitlines()[-1].startswith(start + error.format(path=path))
    assert "Traceback" not in log


def test_parameters_that_no_version_can_have(models: Path, tmp_path: Path) -> None:
    parameters = written(tmp_path / "batching.config", "max_batch_size { value: 2 } allowed_batch_sizes: 3")
    base = f"--model_base_path={models}/half_plus_two"
    code, log = run_to_its_end(base, "--enable_batching", parameters, "--max_num_load_retries=0")
    assert code == 255
    text = "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 3; expected 2"
    assert text in log.splitlines()[-1]


def test_parameters_of_each_version(models: Path, tmp_path: Path, serve: Serve) -> None:
    """One with a file of its own, one without, and one with a file that can't be read."""
    texts = {"own": "max_batch_size { value: 2 }", "none": "", "broken": "max_batch_size"}
    for name, text in texts.items():
        shutil.copytree(models / "half_plus_two" / "1", tmp_path / name / "1")
        if text:
            (tmp_path / name / "1" / "batching_params.pbtxt").write_text(text)
    config = ModelConfigFile(tmp_path / "models.config").write(*(entry(name, tmp_path / name) for name in texts))
    server = serve(config, "--enable_batching", "--enable_per_model_batching_parameters", "--max_num_load_retries=0")
    code, text = server.version_error("broken", 1)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith(f"Invalid protobuf file: '{tmp_path}/broken/1/batching_params.pbtxt'")
    assert server.predict("own", {"instances": [1.0, 2.0]}).json == {"predictions": [2.5, 3.0]}
    refused = server.predict("own", {"instances": [1.0, 2.0, 3.0]})
    assert (refused.status, refused.error) == (400, "Task size 3 is larger than maximum input batch size 2")
    assert server.predict("none", {"instances": [1.0, 2.0, 3.0]}).json == {"predictions": [2.5, 3.0, 3.5]}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A base path with a version 1 whose runs can be held, which are let go of at the end."""
    (tmp_path / "held" / "1").mkdir(parents=True)
    try:
        yield tmp_path / "held"
    finally:
        (tmp_path / "held" / "1" / HOLD).unlink(missing_ok=True)


def start(serve: Serve, held: Path, *flags: str) -> RunningServer:
    """One row a batch, one batch that waits. Its runs are held."""
    config = ModelConfigFile(held.parent / "models.config").write(entry("held", held, platform="held:HeldLoader"))
    parameters = written(
        held.parent / "batching.config",
        "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }",
    )
    server = serve(config, "--enable_batching", parameters, *flags, environment=gated_folder.ENVIRONMENT)
    (held / "1" / HOLD).touch()
    return server


def ask(server: RunningServer, _: int) -> Answer:
    return server.predict("held", {"instances": [2.0]})


def test_a_full_queue_refuses_at_once_and_loses_nothing(held: Path, serve: Serve) -> None:
    server = start(serve, held)
    with ThreadPoolExecutor(MANY) as clients:
        asked = [clients.submit(ask, server, number) for number in range(MANY)]
        wait_until(lambda: any(one.done() for one in asked), 15, "a request that is refused")
        (held / "1" / HOLD).unlink()
        answers = [one.result(30) for one in asked]
    refused = [answer for answer in answers if answer.status != 200]
    assert 0 < len(refused) < MANY
    for answer in refused:
        assert answer.status == 503
        assert answer.error == f"{FULL} and max_enqueued_batches is 1"
        assert answer.headers["retry-after"] == "1"
    assert all(answer.json == {"predictions": [3.0]} for answer in answers if answer.status == 200)
    assert ask(server, 0).json == {"predictions": [3.0]}


def test_a_request_that_is_late_in_the_queue(held: Path, serve: Serve) -> None:
    server = start(serve, held, "--rest_api_timeout_in_ms=1000")
    with ThreadPoolExecutor(MANY) as clients:
        answers = list(clients.map(lambda number: ask(server, number), range(MANY)))
    late = [answer.error for answer in answers if answer.status == 429]
    assert set(late) == {TOO_LATE}
    assert {answer.status for answer in answers} == {429, 503, 504}
