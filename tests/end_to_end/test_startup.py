"""The start of a server whose models are good, bad, late or slow: each is served as soon as it may be."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end import gated_folder
from end_to_end.conftest import DATA, REAL_MODELS, Serve
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer, run_to_its_end
from end_to_end.version_folders import predicted, publish
from end_to_end.waiting import wait_until

LIMIT = 15
WITH_VARIABLES = DATA / REAL_MODELS["half_plus_two_tf2"] / "00000123"


@pytest.fixture(scope="module")
def folders(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good model, and others that are not there yet, or not whole."""
    base = tmp_path_factory.mktemp("startup")
    publish(models / "half_plus_two" / "1", base / "good" / "1")
    publish(models / "broken" / "1", base / "bad" / "1")
    half = base / "half_copied" / "123"
    half.mkdir(parents=True)
    content = (WITH_VARIABLES / "saved_model.pb").read_bytes()
    (half / "saved_model.pb").write_bytes(content[: len(content) // 2])
    return base


@pytest.fixture(scope="module")
def mixed(folders: Path) -> Iterator[RunningServer]:
    """A server that was started with these models. None of its tests needs what another leaves."""
    config = ModelConfigFile(folders / "models.config")
    flag = config.write(*(entry(name, folders / name) for name in ("good", "bad", "half_copied", "missing")))
    with RunningServer(flag) as server:
        yield server


def test_the_good_one_is_served_and_the_others_say_what_is_wrong(mixed: RunningServer, folders: Path) -> None:
    assert predicted(mixed, "good") == 3.0
    for name in ("bad", "half_copied", "missing"):
        assert f"model {name} is not served: " in mixed.log
        assert mixed.predict(name, {"instances": [1.0]}).error == f"Servable not found for request: Latest({name})"
    assert mixed.get("/v1/models/missing").status == 404
    assert f"Could not find base path {folders}/missing" in mixed.log


def test_a_bad_one_is_served_once_it_is_repaired(mixed: RunningServer, models: Path, folders: Path) -> None:
    """Under its number: it was never served."""
    assert mixed.states("bad") == {1: "END"}
    code, text = mixed.version_error("bad", 1)
    assert code == "DATA_LOSS"
    assert "saved_model.pb" in text
    publish(models / "half_plus_two" / "2", folders / "bad" / "1")
    mixed.wait_for_states("bad", {1: "AVAILABLE"}, LIMIT)
    assert predicted(mixed, "bad") == 4.0
    assert mixed.version_error("bad", 1) == ("OK", "")


def test_one_found_while_it_was_copied_is_served_once_it_is_whole(mixed: RunningServer, folders: Path) -> None:
    """A file at a time, with looks at the folder in between."""
    folder = folders / "half_copied" / "123"
    assert mixed.states("half_copied") == {123: "END"}
    before = len(mixed.log)
    shutil.copytree(WITH_VARIABLES / "variables", folder / "variables")
    mixed.wait_for_log("the files of servable version {name: half_copied version: 123} have changed", LIMIT, before)
    mixed.wait_for_log("Encountered an error for servable version {name: half_copied version: 123}", LIMIT, before)
    shutil.copy(WITH_VARIABLES / "saved_model.pb", folder)
    mixed.wait_for_states("half_copied", {123: "AVAILABLE"}, LIMIT)
    assert predicted(mixed, "half_copied") == 3.0


def test_a_missing_base_path_may_come_later(mixed: RunningServer, models: Path, folders: Path) -> None:
    publish(models / "half_plus_two" / "2", folders / "missing" / "1")
    mixed.wait_for_states("missing", {1: "AVAILABLE"}, LIMIT)
    assert predicted(mixed, "missing") == 4.0


def test_all_of_them_bad_ends_the_start(models: Path, tmp_path: Path) -> None:
    config = ModelConfigFile(tmp_path / "models.config")
    code, log = run_to_its_end(config.write(entry("bad", models / "broken"), entry("void", models / "empty")))
    assert code == 255, log
    line = log.splitlines()[-1]
    assert line.startswith("Failed to start server. Error: UNKNOWN: 2 servable(s) did not become available: {{")
    assert "{name: bad version: 1} due to error: DATA_LOSS" in line
    assert "No versions of servable void found" in line
    assert "Traceback" not in log


def test_a_slow_one_holds_up_the_start_only_so_long(models: Path, tmp_path: Path, serve: Serve) -> None:
    with gated_folder.gated(tmp_path / "slow") as base:
        config = ModelConfigFile(tmp_path / "models.config")
        flag = config.write(entry("quick", models / "half_plus_two"), entry("slow", base, platform=gated_folder.PLATFORM))
        began = time.monotonic()
        server = serve(flag, "--startup_timeout=3", environment=gated_folder.ENVIRONMENT)
        assert 3 <= time.monotonic() - began < 10
        assert "not waiting any longer than --startup_timeout=3 for: slow" in server.log
        assert server.states("slow") == {1: "LOADING"}
        assert server.predict("slow", {"instances": [1.0]}).status == 404
        assert predicted(server, "quick") == 4.0
        gated_folder.open_gate(base)
        server.wait_for_states("slow", {1: "AVAILABLE"}, LIMIT)
        assert predicted(server, "slow") == 3.0


def test_retries_end_when_there_were_enough_or_nobody_wants_the_version(models: Path, tmp_path: Path, serve: Serve) -> None:
    config = ModelConfigFile(tmp_path / "models.config")
    flag = config.write(
        entry("good", models / "half_plus_two"), *(entry(name, models / "broken") for name in ("kept", "removed"))
    )
    server = serve(flag, "--max_num_load_retries=4", "--load_retry_interval_micros=500000")
    failed = "retry: 1\n(.*\n)*.*Encountered an error for servable version {name: removed version: 1}"
    server.wait_for_log("Retrying of Loading servable: {name: removed version: 1} " + failed, LIMIT)
    server.admin.call("unload", model="removed")
    server.wait_for_log("Retrying of Loading servable: {name: kept version: 1} exhausted max_num_retries: 4", LIMIT)
    for retry in (1, 2, 3, 4):
        assert server.log.count(f"{{name: kept version: 1}} retry: {retry}\n") == 1
    assert "{name: removed version: 1} retry" not in server.log.partition("Removing model: removed")[2]
    assert server.states("kept") == {1: "END"}


def begun(models: Path) -> tuple[RunningServer, int]:
    """A server whose front end stands still from its first moment on, with all models loaded, and the front end's id."""
    server = RunningServer("--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two")
    server.begin()
    starting = wait_until(lambda: front_end_of(server), LIMIT, "the front end's process")
    os.kill(starting, signal.SIGSTOP)
    server.wait_for_log("Successfully loaded servable version", LIMIT)
    return server, starting


def front_end_of(server: RunningServer) -> int:
    """Also while it still has its command line for a title."""
    return next((pid for title, pid in server.processes().items() if "-m frontend" in title), 0)


def test_a_front_end_that_is_the_last_to_come_up(models: Path) -> None:
    server, front_end = begun(models)
    try:
        os.kill(front_end, signal.SIGCONT)
        server.wait_until_it_serves()
        assert predicted(server) == 4.0
        assert server.stop() == 0
    finally:
        server.end()
    assert "is back" not in server.log


def test_told_to_stop_while_a_front_end_comes_up(models: Path) -> None:
    server, front_end = begun(models)
    try:
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("SIGTERM: ending", LIMIT)
        os.kill(front_end, signal.SIGCONT)
        assert server.wait(10) == 0
    finally:
        server.end()
    assert "Exporting" not in server.log
