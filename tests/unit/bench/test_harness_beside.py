"""What goes on beside a run: what is done to the server, what its metrics say, and what the user sees."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.batch_sizes import BatchSizes, below, grown
from bench.harness.chaos import Action, Chaos
from bench.harness.deeds import kill_process, publish_version
from bench.harness.interruption import interruption
from bench.harness.outcome import Window
from bench.harness.plan import Closed, Plan
from bench.harness.progress import Bar, Lines, Progress, progress_on

PAGE = """\
# TYPE ringserve_batch_rows histogram
ringserve_batch_rows_bucket{model="m",version="1",le="1.0"} 0
ringserve_batch_rows_bucket{model="m",version="1",le="2.0"} 3
ringserve_batch_rows_bucket{model="m",version="1",le="4.0"} 3
ringserve_batch_rows_bucket{model="m",version="1",le="8.0"} 8
ringserve_batch_rows_bucket{model="m",version="1",le="+Inf"} 9
ringserve_batch_rows_bucket{model="m",version="2",le="1.0"} 0
ringserve_batch_rows_bucket{model="m",version="2",le="2.0"} 1
ringserve_batch_rows_bucket{model="m",version="2",le="4.0"} 1
ringserve_batch_rows_bucket{model="m",version="2",le="8.0"} 1
ringserve_batch_rows_bucket{model="m",version="2",le="+Inf"} 1
ringserve_batch_rows_bucket{model="other",version="1",le="2.0"} 7
ringserve_batch_rows_bucket{model="other",version="1",le="+Inf"} 7
"""


def test_batches_between_two_looks_are_counted_by_their_rows() -> None:
    after = below(PAGE, "m")
    assert grown({}, after) == {"1": 4, "4-7": 5, "8+": 1}
    assert grown(below(PAGE.replace("} 3", "} 2").replace("} 8", "} 7").replace("} 9", "} 8"), "m"), after) == {"1": 1}
    assert grown(after, after) == {}


def test_a_server_without_metrics_has_no_sizes() -> None:
    sizes = BatchSizes("http://127.0.0.1:9", "m")  # nobody listens on the port "discard"
    with sizes.from_time(time.monotonic()):
        sizes.stop()
    assert sizes.sizes == {}


def test_deeds_are_done_when_their_time_has_come_and_noted() -> None:
    done = threading.Event()

    def deed(over: threading.Event) -> Iterator[str]:
        yield "begun"
        done.set()
        yield "done"

    def failing(over: threading.Event) -> Iterator[str]:
        yield from ()
        raise RuntimeError("no such worker")

    chaos = Chaos([Action(0.05, deed), Action(0.0, failing), Action(3600, failing)])
    began = time.monotonic()
    with chaos.from_time(began):
        assert done.wait(20)
        chaos.stop()
    assert sorted(event.what for event in chaos.events) == ["begun", "done", "failed: no such worker"]
    assert min(event.seconds for event in chaos.events if event.what == "begun") >= 0.05
    assert time.monotonic() - began < 60  # what has not begun is not waited for


def test_each_run_has_events_of_its_own() -> None:
    def deed(over: threading.Event) -> Iterator[str]:
        yield "done"
        over.wait(20)
        yield "over"

    chaos = Chaos([Action(-1, deed)])
    for _ in range(2):
        with chaos.from_time(time.monotonic()):
            give_up = time.monotonic() + 20
            while not chaos.events and time.monotonic() < give_up:
                time.sleep(0.001)
        assert [event.what for event in chaos.events] == ["done", "over"]


def test_a_process_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        assert list(kill_process(process.pid)(threading.Event())) == [f"process {process.pid} killed"]
        assert process.wait(20) == -signal.SIGKILL


def test_the_newest_version_appears_again_with_the_next_number(tmp_path: Path) -> None:
    for version in ("3", "10"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_text(version)
    assert list(publish_version(tmp_path)(threading.Event())) == ["version 11 is published"]
    assert (tmp_path / "11" / "saved_model.pb").read_text() == "10"
    with pytest.raises(ValueError, match="holds no version"):
        publish_version(tmp_path / "none")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(progress: Progress, warmup: float, began: float, windows: list[Window]) -> None:
    with progress.of(Plan(Closed(4), 10, warmup), began):
        progress.show(windows)


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    progress = progress_on(stream)
    assert isinstance(progress, Bar)
    window = Window(1200, {"503": 1})
    window.latencies.record([3_000_000] * 1200)
    shown(progress, 2, time.monotonic() - 8.1, [window])
    bar, end = stream.getvalue().split("\r\x1b[K")[1:]
    assert bar == "4 clients  [################--------] 8/12 s  1,200/s, p99 3.01 ms, 1 error"
    assert end == ""


def test_the_warm_up_is_told() -> None:
    stream = Terminal()
    shown(progress_on(stream), 2, time.monotonic(), [])
    assert "0/12 s  warm-up" in stream.getvalue()


def test_lines_elsewhere() -> None:
    stream = io.StringIO()
    progress = progress_on(stream)
    assert isinstance(progress, Lines)
    window = Window(50)
    shown(progress, 1, time.monotonic() - 11.2, [window])
    assert stream.getvalue() == "4 clients: 1 s to warm up, then 10 s\n  10 s: 50/s\n"


def test_an_interruption_that_comes_twice_counts_once() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruption():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        os.kill(os.getpid(), signal.SIGINT)  # nothing comes of it
        time.sleep(0)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
