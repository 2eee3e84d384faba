"""Releases that go wrong, and the way back: what was served goes on being served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from end_to_end.conftest import Serve
from end_to_end.load import Load
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import either, predicted, publish

LIMIT = 15


class Release(NamedTuple):
    """A model with version 1, on a server that serves the latest."""

    server: RunningServer
    base: Path
    good: Path  # a version's folder that answers x / 2 + 3
    broken: Path  # and one that can't be loaded


@pytest.fixture
def release(models: Path, tmp_path: Path, serve: Serve) -> Iterator[Release]:
    base = tmp_path / "half_plus_two"
    publish(models / "half_plus_two" / "1", base / "1")
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}")
    yield Release(server, base, models / "half_plus_two" / "2", models / "broken" / "1")


def test_a_broken_version_and_every_way_out_of_it(release: Release) -> None:
    """Requests go on all the time."""
    server, base, good, broken = release

    def states(**versions: str) -> None:
        server.wait_for_states("half_plus_two", {int(key[1:]): state for key, state in versions.items()}, LIMIT)

    with Load(server.port, 5, either) as load:
        publish(broken, base / "2")
        states(v2="END", v1="AVAILABLE")
        assert server.version_error("half_plus_two", 2)[0] == "DATA_LOSS"
        shutil.rmtree(base / "2")  # taken back: nothing has changed for version 1
        before = len(server.log)
        publish(broken, base / "3")
        states(v3="END", v2="END", v1="AVAILABLE")
        assert "{name: half_plus_two version: 2}" not in server.log[before:], "nobody wants it any more"
        publish(good, base / "3")  # repaired, under its number
        states(v3="AVAILABLE", v2="END", v1="END")
        assert predicted(server) == 4.0
        shutil.rmtree(base / "3")  # and back to what was served before
        states(v3="END", v2="END", v1="AVAILABLE")
        assert predicted(server) == 3.0
        publish(good, base / "4")
        states(v4="AVAILABLE", v3="END", v2="END", v1="END")
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert outcome.slowest < 1.0


def test_a_served_version_s_folder_that_is_replaced_is_warned_about_and_not_read(release: Release) -> None:
    server, base, good, _ = release
    before = len(server.log)
    publish(good, base / "1")
    server.wait_for_log(
        "Version 1 of servable half_plus_two is not what it was .* was replaced or has changed", LIMIT, before
    )
    assert predicted(server) == 3.0
    assert "Loading servable" not in server.log[before:]
    publish(good, base / "2")  # as the warning says
    server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"}, LIMIT)
    assert server.log.count("is not what it was") == 1


@pytest.mark.parametrize("policy", ["availability_preserving", "resource_preserving"])
def test_the_order_of_a_change(models: Path, tmp_path: Path, serve: Serve, policy: str) -> None:
    base = tmp_path / "half_plus_two"
    publish(models / "half_plus_two" / "1", base / "1")
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}", f"--aspired_version_policy={policy}")
    before = len(server.log)
    publish(models / "half_plus_two" / "2", base / "2")
    server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"}, LIMIT)
    steps = ["Successfully loaded servable version {name: half_plus_two version: 2}", "Quiescing servable version"]
    if policy == "resource_preserving":
        steps = ["Done unloading servable version", "Loading servable version {name: half_plus_two version: 2}"]
    first, second = (server.log.index(step, before) for step in steps)
    assert first < second
