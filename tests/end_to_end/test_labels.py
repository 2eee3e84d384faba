"""Requests by label: to one version, or split between two, and how a label moves from one to the other."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.conftest import Serve
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer, run_to_its_end
from end_to_end.version_folders import publish
from end_to_end.waiting import wait_until
from ringserve.errors import ServingError

LIMIT = 15
ALL = "model_version_policy { all {} } "
STABLE = 'version_labels { key: "stable" value: 1 } '
ROLLOUT = 'label_splits { label: "rollout" versions { version: 1 weight: 95 } versions { version: 2 weight: 5 } }'
EVEN = 'label_splits { label: "even" versions { version: 1 weight: 1 } versions { version: 2 weight: 1 } }'
ALLOW = "--allow_version_labels_for_unavailable_models"


def version_of(server: RunningServer, label: str, key: str | None = None, model: str = "half_plus_two") -> int:
    """Which version of half_plus_two has answered."""
    headers = {} if key is None else {"X-Ringserve-Key": key}
    answer = server.ask("POST", f"/v1/models/{model}/labels/{label}:predict", {"instances": [2.0]}, headers)
    assert answer.status == 200, answer
    return {3.0: 1, 4.0: 2}[answer.json["predictions"][0]]


def by_key(server: RunningServer, keys: int = 150) -> list[int]:
    return [version_of(server, "even", f"user-{key}") for key in range(keys)]


@pytest.fixture(scope="module")
def labelled(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Both versions of half_plus_two, with labels from the start, on two front ends."""
    config = ModelConfigFile(tmp_path_factory.mktemp("labels") / "models.config")
    flag = config.write(entry("half_plus_two", models / "half_plus_two", ALL + STABLE + ROLLOUT + EVEN))
    with RunningServer(flag, ALLOW, "--rest_frontends=2") as server:
        yield server


def test_a_label_in_the_path(labelled: RunningServer) -> None:
    assert version_of(labelled, "stable") == 1
    metadata = labelled.get("/v1/models/half_plus_two/labels/stable/metadata").json
    assert metadata["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "1"}
    status = labelled.get("/v1/models/half_plus_two/labels/stable").json["model_version_status"]
    assert [entry["version"] for entry in status] == ["2", "1"], "upstream's status takes no heed of labels"
    answer = labelled.ask("POST", "/v1/models/half_plus_two/labels/nope:predict", {"instances": [2.0]})
    assert (answer.status, answer.error) == (400, "Unrecognized servable version label: nope")


def test_a_split_is_roughly_kept(labelled: RunningServer) -> None:
    counts = Counter(version_of(labelled, "rollout") for _ in range(1000))
    assert 15 <= counts[2] <= 100, counts  # 50 expected: less than once in a million runs outside


def test_a_key_always_gets_the_same_version(labelled: RunningServer) -> None:
    """On both front ends, and on one that has taken the place of another."""
    before = labelled.completed()
    first = by_key(labelled)
    assert 40 <= first.count(2) <= 110, "two versions share the keys"
    assert by_key(labelled) == first  # on other connections, so on other front ends
    used = {frontend for frontend, _ in labelled.completed() - before}
    assert used == {"frontend rest 0", "frontend rest 1"}
    before_kill = len(labelled.log)
    os.kill(labelled.process("frontend rest 0"), signal.SIGKILL)
    labelled.wait_for_log("frontend rest 0 is back", LIMIT, before_kill)
    assert by_key(labelled) == first
    assert ("frontend rest 0", "worker cpu:0") in labelled.completed(), "the new one has answered some"


def test_when_the_canary_goes_its_requests_go_to_the_other(models: Path, tmp_path: Path, serve: Serve) -> None:
    base = tmp_path / "half_plus_two"
    shutil.copytree(models / "half_plus_two", base)
    config = ModelConfigFile(tmp_path / "models.config")
    server = serve(config.write(entry("half_plus_two", base, ALL + EVEN)), ALLOW)
    first = by_key(server, 30)
    assert set(first) == {1, 2}
    (base / "2").rename(tmp_path / "withdrawn")
    server.wait_for_states("half_plus_two", {2: "END", 1: "AVAILABLE"}, LIMIT)
    assert set(by_key(server, 30)) == {1}
    publish(tmp_path / "withdrawn", base / "2")
    server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "AVAILABLE"}, LIMIT)
    assert by_key(server, 30) == first, "each key has its version again"


def test_promotion_by_reloads(models: Path, tmp_path: Path, serve: Serve) -> None:
    """The recipe for TensorFlow Serving, with its default rules."""
    base = tmp_path / "half_plus_two"
    publish(models / "half_plus_two" / "1", base / "1")
    config = ModelConfigFile(tmp_path / "models.config")

    def write(label: str, *versions: int) -> str:
        listed = " ".join(f"versions: {version}" for version in versions)
        return config.write(entry("half_plus_two", base, f"model_version_policy {{ specific {{ {listed} }} }} {label}"))

    server = serve(write("", 1))
    write(STABLE, 1)
    server.admin.call("reload")
    assert version_of(server, "stable") == 1
    write(STABLE.replace("1", "2"), 1, 2)  # too early, so it is refused as a whole
    refusal = "assign label to version 2 of model half_plus_two, which is not currently available for inference"
    with pytest.raises(ServingError, match=refusal):
        server.admin.call("reload")
    assert server.described("half_plus_two")["policy"] == "specific 1"
    publish(models / "half_plus_two" / "2", base / "2")
    write(STABLE, 1, 2)
    server.admin.call("reload")
    server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "AVAILABLE"}, LIMIT)
    assert version_of(server, "stable") == 1
    write(STABLE.replace("1", "2"), 1, 2)
    server.admin.call("reload")
    wait_until(lambda: version_of(server, "stable") == 2, LIMIT, "the label's move")
    write(STABLE.replace("1", "2"), 2)
    server.admin.call("reload")
    server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"}, LIMIT)
    assert version_of(server, "stable") == 2


def test_labels_at_the_start_need_the_flag(models: Path, tmp_path: Path) -> None:
    config = ModelConfigFile(tmp_path / "models.config")
    code, log = run_to_its_end(config.write(entry("half_plus_two", models / "half_plus_two", ALL + STABLE)))
    assert code == 255
    text = "Request to assign label to version 1 of model half_plus_two, which is not currently available for inference"
    assert log.splitlines()[-1] == f"Failed to start server. Error: FAILED_PRECONDITION: {text}"
