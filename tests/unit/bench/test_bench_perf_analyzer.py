"""perf_analyzer's output read, the program found, and its environment, without the program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.load import Load
from bench.perf_analyzer import PerfAnalyzer, parsed, together
from bench.perf_analyzer_environment import VARIABLE, found_perf_analyzer
from bench.topology import SkippedError

REPORT = """\
*** Measurement Settings ***
  Service Kind: TensorFlow Serving
  Using "time_windows" mode for stabilization
  Measurement window: 300 msec

Request concurrency: 4
  Client: 
    Request count: 3846
    Throughput: 3546.14 infer/sec
    p50 latency: 1085 usec
    p99 latency: 2664 usec
Inferences/Second vs. Client Average Batch Latency
Concurrency: 4, throughput: 3546.14 infer/sec, latency 1123 usec
"""
TABLE = """\
Concurrency,Inferences/Second,Client Send,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency
4,3546.14,2,0,1085,1665,1888,2664
"""

# Says what it was asked, and writes a table where it is told to.
PROGRAM = f"""\
#!{sys.executable}
import sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    raise SystemExit(0)
options = dict(zip(arguments, arguments[1:]))
if options["-m"] == "wrong":
    sys.exit("Failed to send: NOT_FOUND")
if options["-m"] != "silent":
    calls = options["--concurrency-range"]
    rate = float(options["-p"]) * int(calls)
    head = {TABLE.splitlines()[0]!r}
    open(options["-f"], "w").write(head + f"\\n{{calls}},{{rate}},2,0,{{calls}}000,1,1,5000\\n")
    print("    Request count: 100")
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "perf_analyzer"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return str(path)


def test_the_report_and_the_table_are_read() -> None:
    load = parsed(REPORT, TABLE)
    assert (load.requests, load.p50, load.p99, load.errors) == (3846, 1.085, 2.664, 0)
    assert load.rate == pytest.approx(3546.14)


@pytest.mark.parametrize(
    ("report", "table"),
    [
        ("", TABLE),
        (REPORT, ""),
        (REPORT, TABLE.splitlines()[0]),
        (REPORT, TABLE + "8,1,1,1,1,1,1,1\n"),
        (REPORT, TABLE.replace("p99", "p98")),
        (REPORT, TABLE.replace("2664", "")),
        (REPORT, TABLE.replace("3546.14", "0")),
        (REPORT, TABLE.replace("4,3546.14", "4,nan?")),
        (REPORT, TABLE.replace("4,3546.14,2,0,1085,1665,1888,2664", "4,3546.14")),
    ],
)
def test_output_without_a_result_is_an_error(report: str, table: str) -> None:
    with pytest.raises(RuntimeError, match="printed no result"):
        parsed(report, table)


def test_loads_at_once_are_added_up() -> None:
    load = together([Load(300, 1.0, 1.0, 9.0, 0), Load(100, 1.0, 2.0, 4.0, 0)])
    assert (load.requests, load.rate, load.p50, load.p99) == (400, 400.0, 1.25, 9.0)


def test_it_is_run_once_a_connection(program: str) -> None:
    load = PerfAnalyzer(program).load(1, "right", "x:3", calls=5, seconds=0.3, connections=2)
    assert load.rate == pytest.approx(100 * 5)  # windows of 100 ms, 3 calls and 2
    assert (load.requests, load.p50, load.p99) == (200, 2.5, 5.0)


@pytest.mark.parametrize(
    ("model", "words"), [("wrong", "ended with 1: Failed to send: NOT_FOUND"), ("silent", "ended with 0")]
)
def test_a_failure_is_told_in_its_words(program: str, model: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        PerfAnalyzer(program).load(1, model, "x:3", calls=1, seconds=0.3)


def test_it_is_the_one_named_or_in_the_environment_or_on_the_path(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert found_perf_analyzer(program, tmp_path / "none").program == program
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert found_perf_analyzer("", tmp_path / "none").program == program
    other = shutil.copy(program, tmp_path / "other")
    monkeypatch.setenv(VARIABLE, str(other))
    assert found_perf_analyzer("", tmp_path / "none").program == str(other)


def test_one_that_does_not_run_is_no_failure(tmp_path: Path) -> None:
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho error while loading shared libraries: libssl.so.3 >&2\nexit 127\n")
    failing.chmod(0o755)
    for program, words in (
        (failing, r"does not run: error while .* libssl\.so\.3"),
        (tmp_path / "none", "does not run: .*none"),
    ):
        with pytest.raises(SkippedError, match=words):
            found_perf_analyzer(str(program))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on the machine, and an environment whose pip puts a program that does nothing where it belongs."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    run = subprocess.run

    def installed(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True)
        elif "pip" in command:
            Path(command[command.index("--python") + 1]).with_name("perf_analyzer").symlink_to("/bin/true")
        else:
            return run(command, **options)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", installed)


@pytest.mark.usefixtures("alone")
def test_its_own_environment_has_the_libraries_that_are_absent(tmp_path: Path) -> None:
    assert subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).returncode == 0
    for _ in range(2):
        found = found_perf_analyzer("", tmp_path / "build" / "p")
    assert found.libraries is not None
    assert sorted(file.name for file in found.libraries.iterdir()) == ["libb64.so.0d", "libcudart.so.12"]
    assert found.environment["LD_LIBRARY_PATH"].split(":")[0] == str(found.libraries)
    script = f"import ctypes; ctypes.CDLL({str(found.libraries / 'libcudart.so.12')!r}).cudaMalloc()"
    called = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert called.returncode < 0
    assert "cudaMalloc is not in this environment" in called.stderr


@pytest.mark.usefixtures("alone")
def test_elsewhere_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(SkippedError, match="no perf_analyzer for aarch64"):
        found_perf_analyzer("", tmp_path / "p")
