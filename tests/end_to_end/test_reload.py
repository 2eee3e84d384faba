"""A config file that changes while the server runs: all of it takes effect or nothing, and no request fails meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from end_to_end import gated_folder
from end_to_end.load import Load
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import either, predicted, publish
from end_to_end.waiting import wait_until

ALL = "model_version_policy { all {} }"
LIMIT = 15  # seconds until a change of the file has taken effect: looked at every second


class Followed(NamedTuple):
    """A server that follows a config file, with half_plus_two in it from the start."""

    server: RunningServer
    file: ModelConfigFile
    half: str  # the entry of half_plus_two
    models: Path

    def refused(self) -> int:
        """How often it has looked at a file that could be read, and refused it."""
        return int(self.server.admin.call("status")["reloads"]["refused"])


@pytest.fixture(scope="module")
def followed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """Tests share the server: each writes what it needs, and uses names of its own for models besides half_plus_two."""
    file = ModelConfigFile(tmp_path_factory.mktemp("reload") / "models.config")
    half = entry("half_plus_two", models / "half_plus_two")
    flag = file.write(half)
    with RunningServer(flag, "--model_config_file_poll_wait_seconds=1", environment=gated_folder.ENVIRONMENT) as server:
        yield Followed(server, file, half, models)


def test_models_come_change_and_go_while_requests_go_on(followed: Followed) -> None:
    server, file, half, models = followed
    with Load(server.port, 10, either) as load:
        file.write(half, entry("guest", models / "half_plus_two_2d"))
        server.wait_for_states("guest", {1: "AVAILABLE"}, LIMIT)
        file.write(entry("half_plus_two", models / "half_plus_two", ALL), entry("guest", models / "half_plus_two_2d"))
        server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "AVAILABLE"}, LIMIT)
        file.write(half)
        server.wait_for_states("guest", {1: "END"}, LIMIT)
        server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"}, LIMIT)
        load.wait_for_answers(100)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert server.predict("guest", {"instances": [1.0]}).status == 404


def test_a_file_that_cannot_be_read_changes_nothing(followed: Followed) -> None:
    """And the next good one is applied."""
    server, file, half, models = followed
    before = len(server.log)
    file.write_text('model_config_list {\n  config { nome: "half_plus_two" }\n}\n')
    said = r"Failed to read ModelServerConfig file: Invalid protobuf file: '.*models\.config'.* 2:12 .*nome"
    server.wait_for_log(said, LIMIT, before)
    assert predicted(server) == 4.0
    file.write(half, entry("after_bad", models / "half_plus_two"))
    server.wait_for_states("after_bad", {2: "AVAILABLE"}, LIMIT)
    assert server.log[before:].count("Failed to read") == 1


UNAVAILABLE = "Request to assign label to version 1 of model wrong, which is not currently available for inference"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (entry("wrong", "/a") + entry("wrong", "/b"), "Illegal to list model wrong multiple times in config list"),
        (entry("wrong", "/a", platform="caffe"), "Model wrong requests unsupported platform caffe"),
        (entry("wrong", "/a", 'version_labels { key: "stable" value: 1 }'), UNAVAILABLE),
    ],
    ids=["duplicate", "platform", "label"],
)
def test_what_is_refused_is_refused_as_a_whole(followed: Followed, wrong: str, text: str) -> None:
    server, file, half, models = followed
    before, refused = len(server.log), followed.refused()
    file.write(entry("newcomer", models / "half_plus_two_2d"), wrong)
    server.wait_for_log(text, LIMIT, before)
    wait_until(lambda: followed.refused() >= refused + 2, LIMIT, "another look at the file")
    assert server.log[before:].count(text) == 1, "said once"
    assert server.states("newcomer") == server.states("wrong") == {}
    assert predicted(server) == 4.0, "which the file does not have any more"
    file.write(half)


def test_a_model_that_never_comes_up_keeps_nobody_waiting(followed: Followed, tmp_path: Path) -> None:
    """Neither the others of the same file, nor the next file."""
    server, file, half, models = followed
    with gated_folder.gated(tmp_path / "gated") as base:
        stuck = entry("stuck", base, platform=gated_folder.PLATFORM)
        beside, later = entry("beside", models / "half_plus_two_2d"), entry("later", models / "identity")
        file.write(half, stuck, beside)
        server.wait_for_states("beside", {1: "AVAILABLE"}, LIMIT)
        server.wait_for_states("stuck", {1: "LOADING"}, LIMIT)
        file.write(half, stuck, later)
        server.wait_for_states("later", {1: "AVAILABLE"}, LIMIT)
        server.wait_for_states("beside", {1: "END"}, LIMIT)
        assert server.states("stuck") == {1: "LOADING"}
        gated_folder.open_gate(base)
        server.wait_for_states("stuck", {1: "AVAILABLE"}, LIMIT)
        assert predicted(server, "stuck") == 3.0
        file.write(half)
        server.wait_for_states("stuck", {1: "END"}, LIMIT)


def test_policies(followed: Followed) -> None:
    server, file, half, models = followed

    def apply(policy: str) -> None:
        file.write(half, entry("policies", models / "half_plus_two", policy))

    apply("")
    server.wait_for_states("policies", {2: "AVAILABLE"}, LIMIT)
    apply(ALL)
    server.wait_for_states("policies", {2: "AVAILABLE", 1: "AVAILABLE"}, LIMIT)
    apply("model_version_policy { specific { versions: 1 } }")
    server.wait_for_states("policies", {2: "END", 1: "AVAILABLE"}, LIMIT)
    assert predicted(server, "policies") == 3.0


def test_another_base_path_counts_from_the_next_number_on(followed: Followed, tmp_path: Path) -> None:
    server, file, half, models = followed
    old, new = tmp_path / "old", tmp_path / "new"
    publish(models / "half_plus_two" / "1", old / "1")
    publish(models / "half_plus_two" / "2", new / "1")
    file.write(half, entry("moved", old))
    server.wait_for_states("moved", {1: "AVAILABLE"}, LIMIT)
    before = len(server.log)
    file.write(half, entry("moved", new))
    server.wait_for_log(f"Version 1 of servable moved is not what it was at {old}/1: {new}/1 was replaced", LIMIT, before)
    assert predicted(server, "moved") == 3.0, "a version is never exchanged under its number"
    publish(models / "half_plus_two" / "2", new / "2")
    server.wait_for_states("moved", {2: "AVAILABLE", 1: "END"}, LIMIT)
    assert predicted(server, "moved") == 4.0
