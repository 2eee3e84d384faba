"""`ringserve models` as a process, against a running server: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer, free_port
from end_to_end.test_cli import ringserve
from end_to_end.waiting import wait_until
from ringserve.admin_client import AdminClient

LIMIT = 15


class Administered:
    """A server with half_plus_two (version 2) and a broken model, and the command that talks to it."""

    def __init__(self, server: RunningServer, socket: Path, config: ModelConfigFile, models: Path) -> None:
        self.server = server
        self.socket = socket
        self.config = config
        self.models = models
        self.entries = (entry("half_plus_two", models / "half_plus_two"), entry("bad", models / "broken"))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return ringserve("models", *words, f"--socket={self.socket}")

    def said(self, *words: str) -> str:
        """What it prints when all is well."""
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.rstrip("\n")

    def result(self, *words: str) -> Any:
        return json.loads(self.said(*words, "--json"))

    def refused(self, *words: str) -> str:
        """Why it was not done."""
        done = self.run(*words)
        assert (done.returncode, done.stdout) == (1, ""), done
        return done.stderr.rstrip("\n")

    def versions(self, model: str = "half_plus_two") -> dict[int, str]:
        return {found["version"]: found["state"] for found in self.result("status", model)["models"][0]["versions"]}


@pytest.fixture(scope="module")
def started(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    folder = tmp_path_factory.mktemp("admin")
    config, socket = ModelConfigFile(folder / "models.config"), folder / "s"
    half, bad = entry("half_plus_two", models / "half_plus_two"), entry("bad", models / "broken")
    with RunningServer(config.write(half, bad), f"--admin_socket={socket}") as server:
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        yield Administered(server, socket, config, models)
    assert not socket.exists(), "the socket goes with its server"
    done = ringserve("models", "list", f"--socket={socket}")
    assert done.returncode == 1
    assert done.stderr == f"there is no admin socket {socket}: is the server running?\n"


@pytest.fixture
def admin(started: Administered) -> Iterator[Administered]:
    """Whatever a test has changed is undone after it."""
    yield started
    started.config.write(*started.entries)
    AdminClient(str(started.socket), LIMIT).call("reload")
    wait_until(lambda: started.versions() in ({2: "AVAILABLE"}, {2: "AVAILABLE", 1: "END"}), LIMIT, "version 2 alone again")


def test_list(admin: Administered) -> None:
    table = [re.split(r"  +", line) for line in admin.said("list").splitlines()]
    assert table[0] == ["MODEL", "VERSIONS", "POLICY", "PATH"]
    assert ["half_plus_two", "2 AVAILABLE", "latest 1", f"{admin.models}/half_plus_two"] in table
    assert ["bad", "none", "latest 1", f"{admin.models}/broken"] in table
    listed = {model["name"]: model for model in admin.result("list")["models"]}
    assert listed["half_plus_two"]["versions"] == [{"version": 2, "state": "AVAILABLE"}]
    assert listed["bad"]["versions"] == [{"version": 1, "state": "END"}]


def test_status(admin: Administered) -> None:
    text = admin.said("status", "half_plus_two")
    assert text.startswith(f"half_plus_two: tensorflow, {admin.models}/half_plus_two, policy latest 1, on cpu:0\n")
    assert re.search(r"^ +2 +AVAILABLE .* synthetic: \d+ in \d+\.\d\d s +cpu:0 holds$", text, re.MULTILINE)
    for role in ("worker cpu:0", "frontend rest 0"):
        pid = admin.server.process(role)
        assert re.search(rf"^{role} +{pid} +ready +0 +\d+ MiB$", text, re.MULTILINE), text
    assert re.search(r"^memory reserved for models: [0-9.]+ [KM]iB, without a limit$", text, re.MULTILINE)
    described = admin.result("status", "half_plus_two")
    assert [model["name"] for model in described["models"]] == ["half_plus_two"]
    assert described["frontends"][0]["pid"] == admin.server.process("frontend rest 0")


def test_status_of_what_is_not_well_ends_with_1(admin: Administered) -> None:
    done = admin.run("status")
    assert done.returncode == 1
    assert re.search(r"^ +1 +END .* DATA_LOSS: Can't parse ", done.stdout, re.MULTILINE)
    done = admin.run("status", "--json")
    assert done.returncode == 1
    assert {model["name"] for model in json.loads(done.stdout)["models"]} == {"half_plus_two", "bad"}
    assert admin.refused("status", "rose") == "no model rose is configured"


def explained(admin: Administered) -> Any:
    """Of version 2: itself, its default signature, and what its one device has of that."""
    result = admin.result("explain", "half_plus_two")
    (version,) = result["versions"]
    (signature,) = (found for found in version["signatures"] if found["signature"] == "serving_default")
    (device,) = signature["devices"]
    assert (result["model"], version["version"]) == ("half_plus_two", 2)
    return version, signature, device


def test_explain(admin: Administered) -> None:
    version, signature, device = explained(admin)
    assert (version["troubles"], device["device"], device["forms"][0]["inputs"]) == ({}, "cpu:0", None)
    assert (device["forms"][0]["batched"], device["forms"][0]["mode"]) == (True, "adaptive")
    before = device["batches"]
    for rows in (1, 3):
        assert admin.server.predict("half_plus_two", {"instances": [2.0] * rows}).status == 200
    wait_until(lambda: explained(admin)[2]["batches"] >= before + 2, LIMIT, "the batches of two requests")
    _, signature, device = explained(admin)
    assert device["batches"] == sum(device["sizes"].values()) == before + 2
    assert device["rows"] >= 4
    assert device["sizes"]["2-3"] >= 1
    assert device["ran"]["p50_us"] > 0
    assert signature["waited"]["count"] >= 2
    text = admin.said("explain", "half_plus_two")
    assert text.startswith("half_plus_two version 2\n")
    assert "\n  serving_default\n    DEVICE " in text
    assert re.search(r"^    cpu:0 +as declared +yes, adaptive +at most \d+ rows, waits at most ", text, re.MULTILINE), text
    assert re.search(rf"^    cpu:0: {device['batches']} batches of {device['rows']} rows \(1: ", text, re.MULTILINE), text
    page = admin.server.get("/").body.decode()
    assert f"{device['batches']} batches of {device['rows']} rows" in page
    assert "adaptive, at most " in page


def test_explain_what_is_not_loaded(admin: Administered) -> None:
    assert admin.said("explain", "bad") == "bad: no version is loaded"
    assert admin.result("explain", "bad") == {"model": "bad", "versions": []}
    assert admin.refused("explain", "rose") == "no model rose is configured"


def test_a_worker_that_hangs_keeps_nobody_from_looking(admin: Administered) -> None:
    worker = admin.server.process("worker cpu:0")
    os.kill(worker, signal.SIGSTOP)
    try:
        done = admin.run("explain", "half_plus_two", "--timeout", "0.5")
        assert done.returncode == 1
        trouble = "cpu:0 does not tell: worker cpu:0 did not answer within 0.5 s"
        assert done.stdout.startswith(f"half_plus_two version 2\n  {trouble}\n")
        assert "\n  serving_default\n    cpu:0: " in done.stdout, "what was counted is known all the same"
        told = "cpu:0 does not tell how it batches"  # unless the supervisor takes too long for the page as well
        wait_until(lambda: told in admin.server.get("/").body.decode(), LIMIT, "the page to tell that")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert explained(admin)[0]["troubles"] == {}


def test_load_and_unload_a_model(admin: Administered) -> None:
    base = admin.models / "half_plus_two_2d"
    assert admin.said("load", "guest", "--base-path", str(base)) == "guest: 1 AVAILABLE; policy: latest 1"
    assert admin.server.predict("guest", {"instances": [[2.0, 4.0]]}).status == 200
    assert admin.said("unload", "guest") == "guest: unloaded"
    assert admin.server.predict("guest", {"instances": [[2.0, 4.0]]}).status == 404
    assert "guest" not in admin.said("list")
    outcomes = admin.result("load", "guest", "--base-path", str(base))["outcomes"]
    assert {"model": "guest", "change": "added", "error": None} in outcomes
    admin.result("unload", "guest")
    assert "Could not find base path" in admin.refused("load", "guest", "--base-path", f"{base}/nowhere")
    assert "a base path is needed" in admin.refused("load", "other")
    assert "no model other" in admin.refused("unload", "other")


def test_load_and_unload_a_version(admin: Administered) -> None:
    said = admin.said("load", "half_plus_two", "--version", "1")
    assert said == "half_plus_two: 2 AVAILABLE, 1 AVAILABLE; policy: specific 1 2"
    assert admin.versions() == {2: "AVAILABLE", 1: "AVAILABLE"}
    assert admin.said("unload", "half_plus_two", "--version", "2") == "half_plus_two: 1 AVAILABLE; policy: specific 1"
    assert admin.versions() == {2: "END", 1: "AVAILABLE"}
    assert admin.server.predict("half_plus_two", {"instances": [2.0]}).json == {"predictions": [3.0]}
    refused = admin.refused("load", "half_plus_two", "--version", "7", "--timeout", "0.5")
    assert refused == "no version 7 of model half_plus_two has been found after 0.5 s"
    assert admin.server.predict("half_plus_two", {"instances": [2.0]}).status == 200


def test_labels(admin: Administered) -> None:
    admin.said("load", "half_plus_two", "--version", "1")
    assert admin.said("set-label", "half_plus_two", "prod", "1") == "half_plus_two: label prod is 1"
    assert admin.said("set-label", "half_plus_two", "prod", "1=95", "2=5") == "half_plus_two: label prod is 1:95%/2:5%"
    assert "prod=1:95%/2:5%" in admin.said("list")
    assert admin.result("status", "half_plus_two")["models"][0]["labels"] == {"prod": [[1, 95.0], [2, 5.0]]}
    unavailable = (
        "Request to assign label to version 9 of model half_plus_two, which is not currently available for inference"
    )
    assert admin.refused("set-label", "half_plus_two", "prod", "9") == unavailable
    assert "label" in admin.refused("unload", "half_plus_two", "--version", "2"), "not before the label"
    assert admin.said("set-label", "half_plus_two", "prod", "--remove") == "half_plus_two: no label prod"
    answer = admin.server.ask("POST", "/v1/models/half_plus_two/labels/prod:predict", {"instances": [2.0]})
    assert answer.status == 400


def test_shadows(admin: Administered) -> None:
    said = admin.said("set-shadow", "half_plus_two", "1", "0.5")
    assert said.startswith("half_plus_two: shadow 1 ")
    ((version, rate, counts),) = admin.result("status", "half_plus_two")["models"][0]["shadows"]
    assert (version, rate, counts["compared"]) == (1, 0.5, 0)
    assert admin.said("set-shadow", "half_plus_two", "1", "0") == "half_plus_two: no shadow 1"


def test_reload(admin: Administered) -> None:
    assert sorted(admin.said("reload").splitlines()) == ["bad: kept", "half_plus_two: kept"]
    admin.config.write(admin.entries[0], entry("guest", admin.models / "half_plus_two_2d"))
    said = sorted(admin.said("reload").splitlines())
    assert said == ["bad: removed", "guest: added", "half_plus_two: kept"]
    assert admin.server.states("guest") == {1: "AVAILABLE"}
    other = ModelConfigFile(admin.config.path.with_name("other.config"))
    other.write(admin.entries[0], entry("wrong", admin.models / "broken"))
    done = admin.run("reload", str(other.path))
    assert done.returncode == 1
    assert re.search(r"^wrong: added: DATA_LOSS: .*Can't parse ", done.stdout, re.MULTILINE)
    assert "No such file or directory" in admin.refused("reload", "/nowhere/models.config")
    other.write_text("model_config_list {\n  what?\n}\n")
    assert re.search(r"2:\d+", admin.refused("reload", str(other.path)))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("explode",),
        ("load",),
        ("set-label", "m", "prod"),
        ("set-label", "m", "prod", "1", "2"),
        ("set-shadow", "m", "1", "2"),
        ("list", "--timeout", "never"),
    ],
    ids=" ".join,
)
def test_what_is_not_understood_ends_with_2(words: tuple[str, ...]) -> None:
    done = ringserve("models", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2


def test_a_server_is_found_by_its_port(catalogue: RunningServer) -> None:
    done = ringserve("models", "status", "scalar", f"--port={catalogue.port}")
    assert done.returncode == 0
    assert done.stdout.startswith("scalar: ")
    done = ringserve("models", "list", f"--port={free_port()}")
    assert done.returncode == 1
    assert "has an admin socket" in done.stderr
    path = catalogue.admin.path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
