"""The new-version topology: from the rename that publishes a version to the first answer by it.

The server looks for versions once a second, and loading takes its time; the goal is for what comes on top of both.
"""

from __future__ import annotations

import http.client
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.half_plus_two import NAME, predict
from bench.served_models import POLL_SECONDS, serve_command, write_config
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology
from bench.version_folders import VersionFolders
from bench.version_states import StatusClient, switched

_NAME: Final = "new-version"
_VERSIONS: Final = 10  # in each repetition
_SLACK_SECONDS: Final = 0.2
_LIMIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.002
_LOADED: Final = r"loaded servable version [^\n]*\bversion: {version}\b[^\n]* in ([0-9.]+) s"


def _measure(settings: Settings, rows: list[Row]) -> None:
    goal = (Goal("figure", POLL_SECONDS + _SLACK_SECONDS),)
    latency = Row(_NAME, "rename to answer", "s", "lower")
    median = Row(_NAME, f"less the load, median of {_VERSIONS}", "s", "lower")
    longest = Row(_NAME, f"less the load, longest of {_VERSIONS}", "s", "lower", goals=goal)
    rows += [latency, median, longest]
    target = predict(free_port())
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch:
        folders = VersionFolders(Path(scratch) / NAME, settings.model / "1")
        folders.publish(1)
        config = write_config(Path(scratch) / "models.config", [folders.base])
        with Server(serve_command(config, target.port), target) as server, StatusClient(target.port) as status:
            server.until_answered()
            for repetition in range(settings.repeat):
                versions = range(2 + repetition * _VERSIONS, 2 + (repetition + 1) * _VERSIONS)
                found = [_publish(folders, server, status, target.port, version) for version in versions]
                beyond = [seconds - load for seconds, load in found]
                latency.add(statistics.median(seconds for seconds, _ in found))
                median.add(statistics.median(beyond))
                longest.add(max(beyond))
                settings.say(" ".join(f"{seconds:.2f}-{load:.2f}" for seconds, load in found) + " s")


def _publish(folders: VersionFolders, server: Server, status: StatusClient, port: int, version: int) -> tuple[float, float]:
    """The version takes over from the one before it: seconds until its first answer, and those that it was loading."""
    # The server looks again a while after it has loaded the last one: publishing at once would always wait as long.
    time.sleep(POLL_SECONDS * (version % _VERSIONS) / _VERSIONS)
    seconds = _until_first_answer(folders, port, version)
    status.until(NAME, switched(version - 1, version), _LIMIT_SECONDS)
    folders.withdraw(version - 1)
    return seconds, load_seconds(server.log, version)


def _until_first_answer(folders: VersionFolders, port: int, version: int) -> float:
    """Publish the version and ask for it by its number until it answers: seconds from one to the other.

    Raises RuntimeError for a wrong answer, and when none comes.
    """
    request = predict(port, version=version)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LIMIT_SECONDS)
    try:
        began = folders.publish(version)
        while (waited := time.monotonic() - began) < _LIMIT_SECONDS:
            connection.request("POST", request.path, request.body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            waited = time.monotonic() - began
            if answer.status == 200 and json.loads(body) == request.answer:
                return waited
            if answer.status != 404:
                raise RuntimeError(f"version {version} was answered {answer.status} {body[:200]!r}")
            time.sleep(_POLL_SECONDS)
    finally:
        connection.close()
    raise RuntimeError(f"version {version} gave no answer within {waited:.0f} s")


def load_seconds(log: str, version: int) -> float:
    """How long the version was loading, as the log says. Raises RuntimeError when it does not."""
    found = re.findall(_LOADED.format(version=version), log)
    if not found:
        raise RuntimeError(f"the log does not say how long version {version} was loading")
    return max(map(float, found))


TOPOLOGIES: Final = (Topology(_NAME, "from the rename that publishes a version to its first answer", _measure, long=True),)
