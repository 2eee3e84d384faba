"""Versions that come and go while the server runs, and models that are bad from the start."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

import pytest

from end_to_end.conftest import Serve, write_config
from end_to_end.load import Load
from end_to_end.running_server import RunningServer, run_to_its_end
from end_to_end.version_folders import either, predicted, publish
from end_to_end.waiting import wait_until

POLL = 1.0  # the default, in seconds
LOADING = 5.0  # a small model, and what the machine has to do besides


@pytest.fixture
def base(models: Path, tmp_path: Path) -> Path:
    """A base path with version 1 of half_plus_two."""
    publish(models / "half_plus_two" / "1", tmp_path / "half_plus_two" / "1")
    return tmp_path / "half_plus_two"


def test_a_new_version_takes_over_and_the_old_one_goes(models: Path, base: Path, serve: Serve) -> None:
    """No request fails meanwhile, nor asks in vain: each is answered by the one or by the other."""
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}")
    assert predicted(server) == 3.0
    with Load(server.port, 20, either) as load:
        publish(models / "half_plus_two" / "2", base / "2")
        wait_until(lambda: predicted(server) == 4.0, POLL + LOADING, "version 2 to answer")
        wait_until(lambda: server.states("half_plus_two") == {2: "AVAILABLE", 1: "END"}, 2, "version 1 unloaded")
        load.wait_for_answers(100)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert outcome.slowest < 1.0
    gone = server.predict("half_plus_two", {"instances": [2.0]}, 1)
    assert (gone.status, gone.error) == (404, "Servable not found for request: Specific(half_plus_two, 1)")
    assert server.predict("half_plus_two", {"instances": [2.0]}, 2).status == 200


def test_a_version_that_vanishes_gives_way_to_the_one_before(models: Path, base: Path, serve: Serve) -> None:
    publish(models / "half_plus_two" / "2", base / "2")
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}")
    assert server.states("half_plus_two") == {2: "AVAILABLE"}
    with Load(server.port, 10, either) as load:
        (base / "2").rename(base / "2.denied")
        wait_until(lambda: predicted(server) == 3.0, POLL + LOADING, "version 1 to answer")
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    wait_until(lambda: server.states("half_plus_two") == {2: "END", 1: "AVAILABLE"}, 2, "version 2 unloaded")


def test_a_bad_new_version_leaves_the_old_one_serving(models: Path, base: Path, serve: Serve) -> None:
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}")
    publish(models / "broken" / "1", base / "2")
    wait_until(lambda: server.states("half_plus_two").get(2) == "END", POLL + LOADING, "version 2 to fail")
    assert server.states("half_plus_two") == {2: "END", 1: "AVAILABLE"}
    assert predicted(server) == 3.0
    publish(models / "half_plus_two" / "2", base / "3")
    wait_until(lambda: predicted(server) == 4.0, POLL + LOADING, "version 3 to answer")


def test_many_versions_come_and_go_without_a_failed_request(models: Path, base: Path, serve: Serve) -> None:
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}")

    def available(version: int) -> bool:
        return server.states("half_plus_two").get(version) == "AVAILABLE"

    with Load(server.port, 20, either) as load:
        for version in range(2, 6):
            publish(models / "half_plus_two" / str(1 + version % 2), base / str(version))
            shutil.rmtree(base / str(version - 1))
            wait_until(partial(available, version), POLL + LOADING, f"version {version}")
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert outcome.slowest < 1.0


@pytest.mark.parametrize("order", [("slow", "half_plus_two"), ("half_plus_two", "slow")])
def test_a_model_that_takes_long_to_load_holds_up_no_request(
    models: Path, base: Path, tmp_path: Path, serve: Serve, order: tuple[str, str]
) -> None:
    """Also not while another model changes its version: its lanes need not wait for the load."""
    folders = {"slow": tmp_path / "slow" / "1", "half_plus_two": base / "2"}
    folders["slow"].parent.mkdir()
    server = serve(write_config(tmp_path / "models.config", {name: path.parent for name, path in folders.items()}))
    with Load(server.port, 10, either) as load:
        for name in order:
            publish(models / name / folders[name].name, folders[name])
        wait_until(lambda: predicted(server) == 4.0, POLL + 2 * LOADING, "version 2 to answer")
        wait_until(lambda: server.states("half_plus_two").get(1) == "END", 2 * LOADING, "version 1 to be unloaded")
        server.wait_for_states("slow", {1: "AVAILABLE"})
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    loading = server.wait_for_log(r"loaded servable version \{name: slow version: 1\} in (\S+) s", 0)[1]
    assert outcome.slowest < float(loading) / 2  # both are longer on a busy machine; one that waited would wait for the rest


def test_a_model_of_which_every_version_goes_is_no_longer_found(base: Path, serve: Serve) -> None:
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}")
    shutil.rmtree(base / "1")
    wait_until(lambda: server.states("half_plus_two") == {1: "END"}, POLL + LOADING, "version 1 unloaded")
    answer = server.predict("half_plus_two", {"instances": [2.0]})
    assert (answer.status, answer.error) == (404, "Servable not found for request: Latest(half_plus_two)")
    ended = {"version": "1", "state": "END", "status": {"error_code": "OK", "error_message": ""}}
    assert server.get("/v1/models/half_plus_two").json == {"model_version_status": [ended]}


def test_a_broken_model_beside_a_good_one(models: Path, tmp_path: Path, serve: Serve) -> None:
    served = {"good": models / "half_plus_two", "bad": models / "broken", "void": models / "empty"}
    server = serve(write_config(tmp_path / "models.config", served))
    assert predicted(server, "good") == 4.0
    (entry,) = server.get("/v1/models/bad").json["model_version_status"]
    assert (entry["version"], entry["state"]) == ("1", "END")
    assert entry["status"]["error_code"] != "OK"
    assert "saved_model.pb" in entry["status"]["error_message"] or "parse" in entry["status"]["error_message"]
    assert server.get("/v1/models/void").status == 404
    assert server.predict("bad", {"instances": [1.0]}).error == "Servable not found for request: Latest(bad)"
    lines = [line for line in server.log.splitlines() if "not served:" in line]
    assert len(lines) == 2


def test_a_base_path_that_comes_later(models: Path, base: Path, tmp_path: Path, serve: Serve) -> None:
    later = tmp_path / "later"
    server = serve(write_config(tmp_path / "models.config", {"half_plus_two": base, "later": later}))
    assert predicted(server) == 3.0
    publish(models / "half_plus_two" / "2", later / "1")
    wait_until(lambda: server.get("/v1/models/later").status == 200, POLL + LOADING, "the new model seen")
    wait_until(lambda: server.states("later") == {1: "AVAILABLE"}, LOADING, "the new model loaded")
    assert predicted(server, "later") == 4.0


def last_line(text: str) -> str:
    return text.splitlines()[-1]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("broken", "{name: default version: 1} due to error: "),
        ("empty", "No versions of servable default found"),
        ("nowhere", "Could not find base path"),
    ],
)
def test_nothing_to_serve_ends_the_start(models: Path, model: str, reason: str) -> None:
    began = time.monotonic()
    code, log = run_to_its_end(f"--model_base_path={models}/{model}")
    assert code == 255, log
    line = last_line(log)
    assert line.startswith("Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{")
    assert reason in line
    assert log.count("Failed to start server") == 1
    assert "Traceback" not in log
    assert time.monotonic() - began < 20


def test_a_taken_port_ends_the_start_before_anything_is_loaded(models: Path, catalogue: RunningServer) -> None:
    code, log = run_to_its_end(f"--model_base_path={models}/half_plus_two", port=catalogue.port)
    assert code == 255
    assert (
        last_line(log)
        == f"Failed to start server. Error: UNAVAILABLE: Can't listen on port {catalogue.port}: Address already in use"
    )
    assert "loading" not in log


def test_a_config_file_that_cannot_be_read(tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text("this is no config", encoding="utf-8")
    code, log = run_to_its_end(f"--model_config_file={config}")
    assert code == 255
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in last_line(log)


def test_told_to_stop_while_it_loads(models: Path) -> None:
    server = RunningServer("--model_name=slow", f"--model_base_path={models}/slow")
    server.begin()
    try:
        server.wait_for_log("Loading servable version", 20)
        assert server.stop() == 0
    finally:
        server.end()
    assert "Exporting" not in server.log
    assert "starting a new one" not in server.log
    assert "Traceback" not in server.log
