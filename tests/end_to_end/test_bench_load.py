"""`ringserve bench load` as a process: what it writes, how it ends, and what it does to a server in the middle of a run."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.harness import self_checks
from bench.harness.chaos import Action, Chaos
from bench.harness.coordinator import Beside, run
from bench.harness.deeds import switch_version
from bench.harness.errors import HarnessError
from bench.harness.known_server import Settings
from bench.harness.known_server_process import BODY, KnownServer
from bench.harness.plan import Closed, Open, Plan
from bench.harness.preparation import prepare
from bench.harness.progress import Progress
from bench.harness.results import read_json_lines
from bench.harness.stability import Settling
from bench.harness.target import Target
from end_to_end.conftest import Serve
from end_to_end.running_server import free_port
from end_to_end.waiting import wait_until

LIMIT = 60
RINGSERVE = str(Path(sys.executable).parent / "ringserve")


@pytest.fixture(scope="module")
def known() -> Iterator[KnownServer]:
    """It answers after 2 ms."""
    with KnownServer(Settings(0.002)) as server:
        yield server


@pytest.fixture
def words(known: KnownServer, tmp_path: Path) -> list[str]:
    """The command, without a shape of the load."""
    return raw(known.port, tmp_path)


def raw(port: int, folder: Path) -> list[str]:
    body = folder / "body.json"
    body.write_bytes(BODY)
    target = ["--url", f"http://127.0.0.1:{port}", "--api", "raw", "--path", "/", "--payload", str(body)]
    return [RINGSERVE, "bench", "load", *target, "--json_lines", str(folder / "out.json")]


def done(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_a_sweep_is_shown_and_written(words: list[str], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.csv", "b.csv", "c.html")]
    flags = [f"{flag}={file}" for flag, file in zip(("--csv", "--csv_windows", "--html"), files, strict=True)]
    ended = done([*words, "--clients=1,4", "--duration=600ms", "--warmup=200ms", "--window=200ms", "--processes=2", *flags])
    assert ended.returncode == 0, ended.stderr
    assert "4 clients: 0.2 s to warm up, then 0.6 s" in ended.stderr
    one, four = read_json_lines(tmp_path / "out.json")
    assert [line.split("  ")[0] for line in ended.stdout.splitlines()[2:4]] == ["1 client", "4 clients"]
    assert four.rate > 1.5 * one.rate > 50
    for outcome, processes in ((one, 1), (four, 2)):
        assert outcome.complete
        assert not outcome.failed
        assert len(outcome.windows) == 3
        assert outcome.seconds == 0.6
        assert len(outcome.generators) == outcome.plan["processes"] == processes
        assert all(generator.cpu > 0 for generator in outcome.generators)
        assert outcome.percentile(50) >= 2
    assert all(file.stat().st_size > 100 for file in files)


def test_an_interruption_writes_what_there_is(words: list[str], tmp_path: Path) -> None:
    command = [*words, "--clients=2", "--duration=600", "--warmup=0", "--window=100ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "2 clients" in process.stderr.readline()  # it begins
        generators = psutil.Process(process.pid).children()
        assert len(generators) == 1
        before = used(generators[0])
        wait_until(lambda: used(generators[0]) >= before + 0.05, LIMIT, "it works")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # wrappers do that
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "The run was interrupted" in output
    (outcome,) = read_json_lines(tmp_path / "out.json")
    assert not outcome.complete
    assert outcome.whole.requests
    assert outcome.seconds < 300
    assert not any(generator.is_running() for generator in generators)


def used(process: psutil.Process) -> float:
    """Seconds of processor time."""
    times = process.cpu_times()
    return float(times.user + times.system)


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    ended = done(raw(free_port(), tmp_path))
    assert ended.returncode == 1
    assert "Connection refused" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out.json").exists()


class Killer(Progress):
    """Ends every child of this process that there was not before, as soon as a run has begun."""

    def __init__(self) -> None:
        self.before = set(psutil.Process().children())

    def show(self, windows: object) -> None:
        for child in set(psutil.Process().children()) - self.before:
            child.kill()


def test_a_generator_that_dies_is_an_error(known: KnownServer) -> None:
    killer = Killer()
    with pytest.raises(HarnessError, match="a load generator was ended by signal 9"):
        run(known.requests(), Plan(Closed(1), 600, 0), Beside(killer))
    assert set(psutil.Process().children()) == killer.before


def test_a_run_ends_when_it_has_settled(known: KnownServer) -> None:
    outcome = run(known.requests(), Plan(Closed(2), 60, 0, window=0.2), Beside(settling=Settling(3, 0.9)))
    assert outcome.stable
    assert outcome.complete
    assert len(outcome.windows) == 3
    assert outcome.seconds == pytest.approx(0.6)
    assert outcome.rate > 100


def test_all_faults_are_counted_as_what_they_are() -> None:
    findings = list(self_checks.faults(1.0))
    assert all(finding.proven for finding in findings), findings


def test_a_stall_is_charged_to_all_that_were_due_meanwhile() -> None:
    settings = Settings(0.001, stall_at=0.3, stall=0.5)
    outcome, _ = self_checks.loaded(settings, Plan(Open(200, "constant", 16), 1.2, 0))
    assert outcome.whole.latencies.total == 240  # 200/s, whatever the server did
    late = self_checks.above(outcome.whole.latencies, 0.1)
    assert late >= 0.95 * 200 * 0.4  # a busy machine makes more of them late, not fewer
    assert self_checks.above(outcome.whole.latencies, 0.4) >= 0.8 * 200 * 0.1


def test_things_are_done_to_a_server_in_the_middle_of_a_run(serve: Serve, models: Path, tmp_path: Path) -> None:
    base = tmp_path / "model"
    shutil.copytree(next((models / "half_plus_two").iterdir()), base / "1")
    server = serve("--model_name=m", f"--model_base_path={base}")
    results = tmp_path / "out.json"
    chaos = ["--kill_worker_at=0.3", "--slow_clients=2", "--switch_version_at=0.2", f"--switch_folder={base}"]
    load = ["--url", f"http://127.0.0.1:{server.port}", "--model=m", "--rate=100", "--duration=2", "--warmup=0.5"]
    ended = done([RINGSERVE, "bench", "load", *load, *chaos, "--json_lines", str(results)])
    assert ended.returncode == 0, ended.stderr
    (outcome,) = read_json_lines(results)
    assert not outcome.failed, outcome.whole.errors
    assert outcome.whole.latencies.total > 150
    told = [event.what for event in outcome.events]
    assert told[:3] == ["2 slow clients", "version 2 is published", "worker cpu:0 killed"]
    assert re.fullmatch(r"slow clients: \d+ answers, 0 refused, 0 cut off", told[-1])
    assert sorted(entry.name for entry in base.iterdir()) == ["1", "2"]
    assert sum(outcome.batch_sizes.values()) > 0
    server.wait_for_states("m", {2: "AVAILABLE", 1: "END"})


def test_a_version_is_switched_over_the_admin_socket(serve: Serve, models: Path, tmp_path: Path) -> None:
    base = tmp_path / "model"
    for version in ("1", "2"):
        shutil.copytree(next((models / "half_plus_two").iterdir()), base / version)
    server = serve("--model_name=m", f"--model_base_path={base}")
    requests = prepare(Target(f"http://127.0.0.1:{server.port}", "m"))
    deed = switch_version(server.admin, "m", 1)
    outcome = run(requests, Plan(Closed(2), 1.5, 0), Beside(chaos=Chaos([Action(0.1, deed)])))
    assert not outcome.failed, outcome.whole.errors
    told = [event.what for event in outcome.events]
    assert told == ["switch to version 1 begins", "version 1 is loaded", "version 2 is unloaded"]
    assert server.states("m") == {2: "END", 1: "AVAILABLE"}
