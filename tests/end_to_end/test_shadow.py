"""Copies of requests to another version, whose answers are compared with those that clients got."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.load import Load, Question
from end_to_end.running_server import RunningServer
from end_to_end.test_cli import ringserve
from end_to_end.version_folders import publish
from end_to_end.waiting import wait_until

LIMIT = 15


@pytest.fixture(scope="module")
def shadowed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Versions 2 and 3, which answer alike, and 1, which does not; requests by `latest` go to 3."""
    base = tmp_path_factory.mktemp("shadow") / "half_plus_two"
    for version, source in ((1, 1), (2, 2), (3, 2)):
        publish(models / "half_plus_two" / str(source), base / str(version))
    with RunningServer("--model_name=half_plus_two", f"--model_base_path={base}") as server:
        for version in (1, 2):
            server.admin.call("load", model="half_plus_two", version=version)
        yield server


def small(chance: random.Random) -> Question:
    """Numbers whose halves plus 2 and plus 3 differ by more than answers may that are called alike."""
    number = float(chance.randrange(1000))
    return Question("/v1/models/half_plus_two:predict", {"instances": [number]}, {"predictions": [number / 2 + 3]})


def shadow_counts(server: RunningServer, version: int) -> dict[str, int]:
    """As `ringserve models status --json` has them."""
    done = ringserve("models", "status", "half_plus_two", "--json", f"--port={server.port}")
    assert done.returncode == 0, done
    (model,) = json.loads(done.stdout)["models"]
    found: dict[str, int] = next(counts for number, _, counts in model["shadows"] if number == version)
    return found


def measured(server: RunningServer, version: int) -> dict[str, int]:
    """As GET /metrics has them."""
    pattern = rf'ringserve_shadow_requests_total{{model="half_plus_two",outcome="([a-z]+)",version="{version}"}} (\d+)\.0'
    lines = re.findall(pattern, server.get("/metrics").body.decode())
    return {outcome: int(count) for outcome, count in lines}


@pytest.mark.parametrize(("version", "alike"), [(2, True), (1, False)])
def test_a_shadow_is_compared_and_clients_notice_nothing(shadowed: RunningServer, version: int, alike: bool) -> None:
    done = ringserve("models", "set-shadow", "half_plus_two", str(version), "1", f"--port={shadowed.port}")
    assert done.returncode == 0, done
    with Load(shadowed.port, 4, small) as load:
        load.wait_for_answers(300)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0

    def all_counted() -> bool:
        counts = measured(shadowed, version)
        return sum(counts.values()) - counts.get("differed", 0) == outcome.answered

    wait_until(all_counted, LIMIT, lambda: f"all {outcome.answered} copies counted: {measured(shadowed, version)}")
    counts = measured(shadowed, version)
    assert counts["compared"] > outcome.answered / 2
    assert counts["failed"] == 0
    assert counts["differed"] == (0 if alike else counts["compared"])
    assert shadow_counts(shadowed, version) == counts
    done = ringserve("models", "set-shadow", "half_plus_two", str(version), "0", f"--port={shadowed.port}")
    assert done.stdout == f"half_plus_two: no shadow {version}\n"
    assert shadowed.predict("half_plus_two", {"instances": [2.0]}).json == {"predictions": [4.0]}
