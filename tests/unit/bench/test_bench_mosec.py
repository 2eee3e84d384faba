"""The comparison with mosec, without mosec: its environment, the service's arithmetic, the choice among its variants."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import mosec_comparison, mosec_environment
from bench.load import Load
from bench.mosec_environment import mosec_python
from bench.topology import SkippedError

Commands = list[list[str]]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Those that were asked for; none is run, but folders are made."""
    asked: Commands = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
        return subprocess.CompletedProcess(command, 0, "1.2.3\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_the_environment_is_made_once(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "build" / "mosec"
    assert mosec_python(folder) == folder / "bin" / "python"
    assert [command[0] for command in commands] == [sys.executable, sys.executable]
    assert commands[1][1:5] == ["-m", "pip", "--python", str(folder / "bin" / "python")]
    assert commands[1][-3] == "mosec>=0.9"
    mosec_python(folder)
    assert len(commands) == 2
    monkeypatch.setattr(mosec_environment, "_PACKAGES", ("mosec>=1",))
    mosec_python(folder)
    assert len(commands) == 4


def test_without_a_network_it_is_skipped_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Commands = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        tmp_path.joinpath("e").mkdir(exist_ok=True)
        if "pip" in command:
            return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: no route to the registry\n\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        with pytest.raises(SkippedError, match=r"mosec's environment .* pip --python: ERROR: no route to the registry$"):
            mosec_python(tmp_path / "e")
    assert len(asked) == 4


def test_a_command_that_hangs_is_a_reason_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SkippedError, match="timed out"):
        mosec_python(tmp_path / "e")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The program, with what it needs of mosec."""
    library = ModuleType("mosec")
    library.Worker, library.Server = type("Worker", (), {}), type("Server", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mosec", library)
    yield importlib.import_module("bench.mosec_server")
    del sys.modules["bench.mosec_server"]


def test_it_computes_the_same(service: Any) -> None:
    requests = [b'{"instances":[1.0,2.0,5.0]}', b'{"instances":[0.0,-4.0,1.0]}']
    worker = service.HalfPlusTwoOrjson()
    answers = worker.forward([worker.deserialize(request) for request in requests])
    assert [worker.serialize(answer) for answer in answers] == [
        b'{"predictions":[2.5,3.0,4.5]}',
        b'{"predictions":[2.0,0.0,2.5]}',
    ]


def test_the_fastest_is_compared_with() -> None:
    said: list[str] = []
    rates = {"json": 2000, "orjson": 3000}
    assert mosec_comparison.fastest(lambda variant: Load(rates[variant], 2.0, 1, 1, 0), said.append) == "orjson"
    assert said == ["mosec with json 1,000 req/s, mosec with orjson 1,500 req/s: compared with orjson"]


def test_they_are_measured_only_when_named() -> None:
    assert all(topology.long for topology in mosec_comparison.TOPOLOGIES)
