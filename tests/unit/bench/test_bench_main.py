"""The command line: which topologies are measured, and what is left when one fails or the user has enough."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench.half_plus_two import half_plus_two
from bench.machine import _cpu_model, machine, source, versions
from bench.placement import apart
from bench.time_limit import time_limit
from bench.topology import Row, Settings, SkippedError, Topology


def right(settings: Settings, rows: list[Row]) -> None:
    row = Row("right", "throughput", "req/s", "higher")
    rows.append(row)
    for repetition in range(settings.repeat):
        row.add(float(repetition + 1))
        settings.say("a line")


def failing(_: Settings, __: list[Row]) -> None:
    raise RuntimeError("no server")


def absent(_: Settings, __: list[Row]) -> None:
    raise SkippedError("no network")


def interrupted(settings: Settings, rows: list[Row]) -> None:
    right(settings, rows)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that results go to; the topologies are the ones above."""
    chosen = {"right": right, "failing": failing, "interrupted": interrupted, "lengthy": right, "absent": absent}
    long = ("lengthy", "absent")
    topologies = {name: Topology(name, "for a test", measure, long=name in long) for name, measure in chosen.items()}
    monkeypatch.setattr(command, "_TOPOLOGIES", topologies)
    (tmp_path / "half_plus_two" / "1").mkdir(parents=True)
    return tmp_path / "result.json"


def run(output: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    before = signal.getsignal(signal.SIGTERM)
    try:
        status = command.main([*arguments, "--repeat", "2", "--models", str(output.parent), "--output", str(output)])
    finally:
        signal.signal(signal.SIGTERM, before)
    return status, json.loads(output.read_text())


def test_chosen_topologies_are_measured_and_written(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = run(output, "--only", "right", "--seconds", "0.5", "--generator", "own")
    assert status == 0
    assert result["complete"]
    assert result["results"][0]["figures"] == [1.0, 2.0]
    assert result["settings"] == {"repeat": 2, "seconds": 0.5, "generator": "own"}
    assert result["versions"]["ringserve"]
    printed, said = capsys.readouterr()
    assert "throughput, req/s" in printed
    assert str(output) in printed
    assert "right: for a test\n  a line\n" in said


def test_one_that_fails_leaves_the_others_alone(output: Path) -> None:
    status, result = run(output, "--only", "failing", "right")
    assert status == 1
    assert result["failures"] == {"failing": "RuntimeError: no server"}
    assert [row["topology"] for row in result["results"]] == ["right"]


def test_what_is_not_to_be_had_here_is_no_failure(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = run(output, "--only", "absent")
    assert status == 0
    assert result["complete"]
    assert (result["skipped"], result["failures"]) == ({"absent": "no network"}, {})
    printed, said = capsys.readouterr()
    assert "absent: skipped: no network" in printed
    assert "skipped: no network" in said


def test_what_was_found_before_an_interruption_is_kept(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = run(output, "--only", "interrupted", "right")
    assert status == 130
    assert not result["complete"]
    assert [row["figures"] for row in result["results"]] == [[1.0, 2.0]]
    assert "throughput" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        ([], ["right", "failing"]),
        (["--all"], ["right", "failing", "lengthy", "absent"]),
        (["lengthy", "right"], ["lengthy", "right"]),
        (["right", "--only", "lengthy", "right"], ["right", "lengthy"]),
    ],
)
def test_the_long_ones_are_measured_when_named_or_everything_is(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], measured: list[str]
) -> None:
    monkeypatch.delitem(command._TOPOLOGIES, "interrupted")
    run(output, *words)
    said = capsys.readouterr().err
    assert [line.removesuffix(": for a test") for line in said.splitlines() if line.endswith(": for a test")] == measured


def test_help_says_which_are_long(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Measured when none is named: ring-stream, " in shown
    assert re.search(r"only when named or with --all: load-.*reload-memory.*mosec-c1", shown)


@pytest.mark.parametrize("words", [["--only", "rest-c2"], ["rest-c2"], ["--repeat", "0"], ["--generator", "ab"]])
def test_what_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(words)


def test_every_topology_of_the_design_is_there() -> None:
    names = {"ring-stream", "ring-stream-single", "ring-pingpong", "rest-c1", "rest-c32", "rest-c128", "start"}
    names |= {"load-isolation", "load-isolation-c32", "reload-memory", "many-models", "new-version"}
    names |= {"grpc-c1", "grpc-c32", "grpc-c32-f2", "grpc-stream", "grpc-image"}
    names |= {"zmq-stream", "zmq-pingpong", "zmq-each", "zmq-client-stream", "shm-pingpong", "shm-stream"}
    names |= {"image-zmq", "image-shm"}
    names |= {"cnn-batch", "resnet-batch", "batching-small", "batching-medium", "batching-large", "linger"}
    names |= {"rest-image", "rest-image-json", "mosec-c1", "mosec-c32", "mosec-c128-f2"}
    assert names <= set(command._TOPOLOGIES)


def test_a_folder_with_other_versions_of_the_model_is_refused(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / "half_plus_two" / version).mkdir(parents=True)
    with pytest.raises(RuntimeError, match="version 2 beside version 1"):
        half_plus_two(tmp_path)


def test_the_machine_and_the_versions_are_told() -> None:
    found = machine()
    assert found["cpus"] >= found["cpus_usable"] >= 1
    assert found["memory_gb"] > 0
    assert all(versions().values())
    assert set(source()) == {"commit", "dirty"}
    json.dumps([found, versions(), source()])


def test_the_cpus_name(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU: the 2nd @ 3 GHz\nmodel name\t: Other\n")
    assert _cpu_model(cpuinfo) == "Some CPU: the 2nd @ 3 GHz"
    assert _cpu_model(tmp_path / "missing")


def test_a_block_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="the wait took longer"), time_limit(0.05, "the wait"):
        time.sleep(30)
    assert time.monotonic() - began < 20
    with time_limit(0.05, "nothing"):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_processes_stay_apart_for_the_block_only() -> None:
    before = os.sched_getaffinity(0)
    with apart():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
