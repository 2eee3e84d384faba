"""Whether a server may be asked, as probes see it: while models fail, load and lose their worker, and while it stops."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from end_to_end import gated_folder, process_facts
from end_to_end.conftest import Serve, write_config
from end_to_end.http_answer import LIMIT, Answer, answer_of
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.raw_connection import RawConnection, post
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import publish
from end_to_end.waiting import wait_until

WAIT = 15  # seconds until the server has noticed something
OK = {"status": "ok"}
NAME, PATH = "né w/a?b", "n%C3%A9%20w%2Fa%3Fb"


@pytest.fixture(scope="module")
def ailing(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Of its models one is broken, and one has no versions."""
    served = {
        "good": models / "half_plus_two",
        "bad": models / "broken",
        "void": models / "empty",
        NAME: models / "half_plus_two_2d",
    }
    with RunningServer(write_config(tmp_path_factory.mktemp("health") / "models.config", served)) as server:
        yield server


def refused(answer: Answer) -> str:
    """Its error, of an answer that says: later."""
    assert answer.status == 503, answer
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["status"] == "unavailable"
    return str(answer.json["error"])


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/livez?verbose"])
def test_it_lives(ailing: RunningServer, path: str) -> None:
    answer = ailing.get(path)
    assert (answer.status, answer.json, answer.headers["cache-control"]) == (200, OK, "no-store")


def test_a_server_with_a_failed_model_is_not_ready(ailing: RunningServer) -> None:
    answer = ailing.get("/readyz")
    assert refused(answer) == "2 of 4 models can't be asked"
    assert set(answer.json["models"]) == {"bad", "void"}
    bad = answer.json["models"]["bad"]
    assert bad["error"].startswith("Version 1 could not be loaded: ")
    (version,) = bad["model_version_status"]
    assert (version["version"], version["state"]) == ("1", "END")
    assert version["status"]["error_code"] != "OK"
    assert bad["model_version_status"] == ailing.get("/v1/models/bad").json["model_version_status"]


def test_each_model_for_itself(ailing: RunningServer) -> None:
    good = ailing.get("/readyz/good")
    assert (good.status, good.json["status"]) == (200, "ok")
    assert good.json["model_version_status"][0] == {
        "version": "2",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert ailing.get(f"/readyz/{PATH}").status == 200
    assert refused(ailing.get("/readyz/bad")).startswith("Version 1 could not be loaded: ")
    assert refused(ailing.get("/readyz/void")) == "It has no version"
    nope = ailing.get("/readyz/nope")
    assert (nope.status, nope.json["error"], "retry-after" in nope.headers) == (404, "There is no model nope", False)


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/readyz", 503), ("/readyz/good", 200), ("/readyz/nope", 404)]
)
def test_head(ailing: RunningServer, path: str, status: int) -> None:
    answer = ailing.ask("HEAD", path, headers={"X-Request-Id": "probe"})
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (status, b"", "probe")


@pytest.mark.parametrize("path", ["/readyz/", "/livez/", "/healthz/a", "/LIVEZ", "/health", "/v1/readyz"])
def test_other_paths(ailing: RunningServer, path: str) -> None:
    assert ailing.get(path).status == (400 if path.startswith("/v1/") else 404)


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_verbs_find_a_page_and_no_probe(ailing: RunningServer, verb: str) -> None:
    answer = ailing.ask(verb, "/readyz")
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html")


def test_a_model_that_comes_makes_it_wait(models: Path, tmp_path: Path, serve: Serve) -> None:
    """Until it is there, and no longer; and a new version that fails beside one that is served changes nothing."""
    base = tmp_path / "half_plus_two"
    publish(models / "half_plus_two" / "1", base / "1")
    file = ModelConfigFile(tmp_path / "models.config")
    half = entry("half_plus_two", base)
    flags = file.write(half), "--model_config_file_poll_wait_seconds=1"
    with gated_folder.gated(tmp_path / "guest") as guest:
        server = serve(*flags, environment=gated_folder.ENVIRONMENT)
        assert server.get("/readyz").json == OK
        file.write(half, entry("guest", guest, platform=gated_folder.PLATFORM))
        wait_until(lambda: server.get("/readyz").status == 503, WAIT, "the new model to be missed")
        server.wait_for_states("guest", {1: "LOADING"}, WAIT)
        assert server.get("/readyz").json["models"]["guest"]["error"] == "It is being loaded"
        assert refused(server.get("/readyz/guest")) == "It is being loaded"
        assert server.get("/readyz/half_plus_two").status == 200
        gated_folder.open_gate(guest)
        wait_until(lambda: server.get("/readyz").status == 200, WAIT, "the new model to be there")
        file.write(half)
        server.wait_for_states("guest", {1: "END"}, WAIT)
        assert (server.get("/readyz").status, server.get("/readyz/guest").status) == (200, 404)
    publish(models / "broken" / "1", base / "2")
    wait_until(lambda: server.states("half_plus_two").get(2) == "END", WAIT, "version 2 to fail")
    assert server.get("/readyz").json == OK


def test_a_worker_that_dies_and_a_server_that_stops(models: Path, tmp_path: Path, serve: Serve) -> None:
    served = {name: models / name for name in ("half_plus_two", "slow")}
    server = serve(write_config(tmp_path / "models.config", served))
    assert server.get("/readyz").json == OK
    os.kill(server.process("worker cpu:0"), signal.SIGKILL)
    wait_until(lambda: server.get("/readyz").status == 503, WAIT, "it to be missed")
    assert refused(server.get("/readyz")) == "2 of 2 models can't be asked"
    assert refused(server.get("/readyz/half_plus_two")) == "No worker can take its requests now"
    assert server.get("/livez").json == OK
    wait_until(lambda: server.get("/readyz").status == 200, WAIT, "another one to be ready")
    stops_gently(server)


def stops_gently(server: RunningServer) -> None:
    """While the server stops, what is in flight is answered, and probes hear of it at once."""
    probe = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)

    def status(path: str) -> int:
        """0: the connection has ended."""
        try:
            probe.request("GET", path)
            return answer_of(probe.getresponse()).status
        except (http.client.HTTPException, OSError):
            return 0

    with ThreadPoolExecutor(4) as pool, RawConnection(server.port) as idle:
        assert (status("/readyz"), status("/livez")) == (200, 200)
        asked = [pool.submit(server.predict, "slow", {"instances": [float(number)]}) for number in range(4)]
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 4, WAIT, "requests in flight")
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: status("/readyz") != 200, WAIT, "the stop to be noticed")
        assert time.monotonic() - began < 2
        assert [(future.result().status, future.result().json) for future in asked] == [
            (200, {"predictions": [float(number)]}) for number in range(4)
        ]
        assert idle.rest() == b"", "a connection without a request is closed"
        with pytest.raises(OSError), RawConnection(server.port) as late:
            late.send(post("/v1/models/half_plus_two:predict", b'{"instances": [1]}'))
            if not late.rest():
                raise ConnectionResetError
    probe.close()
    assert server.wait() == 0
