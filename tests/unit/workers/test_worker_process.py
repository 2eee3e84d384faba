"""A real worker process, talked to as the supervisor does: loads, lanes, plug-ins of every temper."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_thread import until

from ringserve.channel import Channel, Message
from ringserve.errors import Code
from ringserve.options import ServerOptions
from shm.bell import Bell
from shm.counters import CounterTable
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import SUBMITTED, LaneSpec
from shm.packed import PackedTensor, pack_strings
from shm.producer import LaneProducer

ROOT = Path(__file__).parents[3]
LIMIT = 60.0
RING = 1 << 16

PLUGINS = """
import os, threading
from ringserve.loader import Loader
from ringserve.signature import Signature

together = threading.Barrier(2, timeout=30)

class Servable:
    def __init__(self, name="s", shape=()):
        self.signatures = {name: Signature.of({"x": ("float", shape)}, {"y": ("float", shape)}, name)}
    def run(self, signature, inputs):
        raise SystemExit("run")

class ExitsInRun(Loader):
    def load(self):
        return Servable()

class ExitsInLoad(Loader):
    def load(self):
        raise SystemExit("load")

class ExitsInUnload(Loader):
    def load(self):
        return Servable()
    def unload(self):
        raise SystemExit("unload")
    def estimate(self):
        raise SystemExit("estimate")

class Together(Loader):
    def load(self):
        together.wait()
        return Servable()
"""


class RunningWorker:
    """The process, and the supervisor's end of its channel."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.doorbell = Doorbell.create()
        self.counters = CounterTable.create()
        self._socket = ours
        self._calls = 0
        self._answers: dict[int, Message] = {}
        options = json.dumps(asdict(ServerOptions()))
        fds = [theirs.fileno(), self.doorbell.fd, self.counters.fd]
        command = [sys.executable, "-m", "workers", "--device", "cpu:0", "--options", options]
        command += ["--control-fd", str(fds[0]), "--doorbell-fd", str(fds[1]), "--counters-fd", str(fds[2])]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
        self.process = subprocess.Popen(command, pass_fds=fds, env=environment, cwd=folder)
        theirs.close()
        assert self._next()["type"] == "ready"

    def _next(self) -> Message:
        messages = self.channel.receive(LIMIT)
        assert messages, "the worker says nothing"
        for message, _ in messages[1:]:
            self._answers[message["call"]] = message
        return messages[0][0]

    def send(self, kind: str, fds: Sequence[int] = (), **message: Any) -> int:
        self._calls += 1
        self.channel.send({"type": kind, "call": self._calls, **message}, fds)
        return self._calls

    def answer(self, call: int) -> Message:
        while call not in self._answers:
            message = self._next()
            self._answers[message["call"]] = message
        return self._answers.pop(call)

    def call(self, kind: str, fds: Sequence[int] = (), **message: Any) -> Message:
        return self.answer(self.send(kind, fds, **message))

    def load(self, name: str, path: str, platform: str, **options: str) -> Message:
        return self.call("load", servable=[name, 1], path=path, platform=platform, options=options)

    def unload(self, name: str) -> Message:
        return self.call("unload", servable=[name, 1])

    def doorbells(self) -> int:
        """Event descriptors that the process has open."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        return sum("eventfd" in os.readlink(entry) for entry in folder.iterdir())

    def close(self) -> None:
        self.send("stop")
        assert self.process.wait(LIMIT) == 0
        self._socket.close()
        self.doorbell.close()
        self.counters.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorker]:
    folder = tmp_path_factory.mktemp("plugged")
    (folder / "tempers.py").write_text(PLUGINS)
    (folder / "exits.py").write_text("raise SystemExit('import')")
    (folder / "table.csv").write_text("a,1\nb,2\n")
    running = RunningWorker(folder)
    yield running
    running.close()


@pytest.fixture
def folder(worker: RunningWorker) -> str:
    return os.readlink(f"/proc/{worker.process.pid}/cwd")


def error(answer: Message) -> tuple[int, str]:
    return answer.get("code", 0), answer.get("message", "")


def test_a_version_comes_and_goes(worker: RunningWorker, folder: str) -> None:
    answer = worker.load("table", folder, "lookup_table")
    assert error(answer) == (0, "")
    ((name, _, inputs, outputs),) = answer["signatures"]
    assert (name, inputs, outputs) == ("serving_default", [["keys", "keys:0", 7, [-1]]], [["values", "values:0", 9, [-1]]])
    assert answer["metadata"]["serving_default"]["inputs"]["keys"]["dtype"] == "DT_STRING"
    assert set(answer["warm_up"]) == {"source", "requests", "seconds", "notes", "records"}
    assert error(worker.load("table", folder, "lookup_table"))[0] == Code.ALREADY_EXISTS
    assert worker.call("absent", servable=["table", 1], reason="why")["code"] == Code.ALREADY_EXISTS
    estimate = worker.call("estimate", servable=["table", 2], path=folder, platform="lookup_table", options={})
    assert estimate["bytes"] == 80
    assert error(worker.unload("table")) == (0, "")
    assert error(worker.unload("table")) == (0, ""), "nothing is left to do"
    assert error(worker.load("table", folder, "lookup_table")) == (0, ""), "and may come again"
    worker.unload("table")


def test_a_tensorflow_model(worker: RunningWorker, models: Path) -> None:
    answer = worker.load("half", str(models / "half_plus_two" / "1"), "tensorflow")
    assert error(answer) == (0, "")
    assert answer["warm_up"]["source"] in ("synthetic", "off")
    report = worker.call("form", servable=["half", 1], signature="serving_default", inputs=None)
    assert (report["columns"], report["batched"]) == ([[[1, "<f4", []]], [[1, "<f4", []]]], True)
    worker.unload("half")


def explained(worker: RunningWorker, name: str) -> dict[str, Message]:
    """What it says of each form of the default signature, by the form's inputs."""
    queues = worker.call("explain", servable=[name, 1])["queues"]
    return {repr(entry["inputs"]): entry for entry in queues if entry["signature"] == "serving_default"}


def test_it_explains_how_it_batches(worker: RunningWorker, models: Path, folder: str) -> None:
    worker.load("half", str(models / "half_plus_two" / "1"), "tensorflow")
    ((inputs, entry),) = explained(worker, "half").items()
    assert (inputs, entry["batched"], entry["mode"]) == ("None", True, "adaptive")
    assert entry["reason"] == "rows run alone and together gave the same answers"
    assert entry["max_rows"] > 1
    assert entry["fixed_us"] > 0
    other = [[1, "<f4", [3]]]
    report = worker.call("form", servable=["half", 1], signature="serving_default", inputs=other)
    found = explained(worker, "half")
    assert found.keys() == {"None", repr(other)}
    told = found[repr(other)]
    assert (told["batched"], told["reason"], told["max_rows"]) == (report["batched"], report["reason"], report["most_rows"])
    worker.unload("half")
    worker.load("table", folder, "lookup_table")
    (entry,) = explained(worker, "table").values()
    assert not entry["batched"]
    assert entry["reason"].startswith("a run on synthetic rows failed: Key "), "which are no keys of that table"
    worker.unload("table")


def test_what_it_does_not_hold_is_not_explained(worker: RunningWorker) -> None:
    assert error(worker.call("explain", servable=["nobody", 1])) == (
        Code.NOT_FOUND,
        "This worker does not hold {name: nobody version: 1}",
    )
    worker.call("absent", servable=["lost", 1], reason="no disk")
    code, text = error(worker.call("explain", servable=["lost", 1]))
    assert (code, text) == (Code.UNAVAILABLE, "The version could not be loaded again after a crash: no disk")
    worker.unload("lost")


def test_lanes_of_a_front_end_share_its_doorbell(worker: RunningWorker, folder: str) -> None:
    worker.load("table", folder, "lookup_table")
    route: Message = {"servable": ["table", 1], "signature": "serving_default", "inputs": None}
    before = worker.doorbells()
    spec = LaneSpec.from_wire(None, RING)
    lanes = [Lane.create(spec, {}) for _ in range(2)]
    bell = Doorbell.create()
    for number, lane in enumerate(lanes):
        message = {"lane": number, "frontend": "rest 0", "columns": None, "ring_bytes": RING, **route}
        assert error(worker.call("lane", [lane.segment.fd, bell.fd], **message)) == (0, "")
        assert bell.wait(LIMIT), "it rings for a lane that comes"
        producer = LaneProducer(lane)
        keys = PackedTensor(7, (2,), pack_strings([b"b", b"a"]))
        producer.submit_packed(0, 2, [keys], 0)
        producer.submit_packed(0, 1, [PackedTensor(7, (1,), pack_strings([b"c"]))], 0)
        worker.doorbell.ring()
        while producer.completed < 2:
            assert bell.wait(LIMIT)
        assert np.frombuffer(producer.answer_packed(0)[0].data, "<i8").tolist() == [2, 1]
        assert producer.verdict(1)[0] == Code.NOT_FOUND
        assert bytes(producer.answer_packed(1)[0].data) == b'Key "c" is not in the table'
        assert [producer.batch(number)[3] for number in range(2)] == [2, 1]
        assert worker.doorbells() == before + 1
    labels = ("table", "1", "serving_default", "cpu:0")

    def is_counted() -> bool:
        """Four batches of six rows: soon after they are answered."""
        counted = {family: cells for family, found, cells in worker.counters.read() if found == labels}
        return (sum(counted["batches"][:-1]), counted["batches"][-1], sum(counted["batch_run"][:-1])) == (4, 6, 4)

    until(is_counted)
    worker.send("drop_lane", lane=0)
    worker.call("form", **route)
    worker.unload("table")
    assert worker.doorbells() == before
    assert labels not in [found for _, found, _ in worker.counters.read()], "they are kept without the version"
    lanes[0].close()
    lanes[1].close()
    bell.close()


def test_a_local_clients_lane(worker: RunningWorker, models: Path) -> None:
    worker.load("mine", str(models / "half_plus_two" / "1"), "tensorflow")
    route: Message = {"servable": ["mine", 1], "signature": "serving_default", "inputs": None}
    columns = worker.call("form", **route)["columns"]
    spec = LaneSpec.from_wire(columns, RING)
    lane = Lane.create(spec, {})

    def join(number: int, **change: Any) -> tuple[Message, Bell]:
        ours, theirs = Bell.pair()
        message = {"lane": number, "columns": columns, "ring_bytes": RING, "local": True, **route, **change}
        answer = worker.call("lane", [lane.segment.fd, theirs.fd], most_request_bytes=RING, most_rows=8, **message)
        theirs.close()
        return answer, ours

    answer, bell = join(1)
    assert error(answer) == (0, "")
    producer = LaneProducer(lane)
    for row in range(10):
        producer.submit_rows(row, 1, [np.array([row], "<f4")], 0)
        bell.ring()
        while producer.completed <= row:
            assert bell.wait(LIMIT)
        rows = producer.answer_rows(row)
        assert rows is not None
        assert rows[0].tolist() == [0.5 * row + 2]
        producer.release(row + 1)
    labels = ("mine", "1", "serving_default", "predict", "SHM", "OK")
    until(lambda: ("requests", labels, (10,)) in worker.counters.read())
    producer.submit_rows(10, 9, [np.zeros(9, "<f4")], 0)
    bell.ring()
    while bell.clear():
        assert bell.wait(LIMIT), "more rows than were agreed upon: the lane is closed"
    bell.close()
    for change in ({"ring_bytes": RING * 2}, {"servable": ["nobody", 1]}):
        answer, bell = join(2, **change)
        assert error(answer)[0]
        assert bell.wait(LIMIT)
        assert not bell.clear()
        bell.close()
    lane.words[SUBMITTED] = 0
    answer, bell = join(3)
    worker.unload("mine")
    while bell.clear():
        assert bell.wait(LIMIT), "the version has gone"
    until(lambda: ("requests", ("mine", "", "", "predict", "SHM", "OK"), (10,)) in worker.counters.read())
    bell.close()
    lane.close()


def test_a_lane_that_cant_be_attached_leaves_nothing(worker: RunningWorker, folder: str) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{worker.process.pid}/fd"))

    lane, bell = Lane.create(LaneSpec.from_wire(None, RING), {}), Doorbell.create()
    route: Message = {"signature": "serving_default", "inputs": None, "columns": None}
    unknown: Message = {**route, "lane": 7, "frontend": "rest 0", "servable": ["nobody", 1], "ring_bytes": RING}
    unfit = {**unknown, "servable": ["table", 1], "ring_bytes": RING * 2}
    worker.load("table", folder, "lookup_table")
    before = descriptors()
    for _ in range(10):  # the last lane's mapping, say, may go a little later
        assert worker.call("lane", [lane.segment.fd, bell.fd], **unknown)["code"] == Code.NOT_FOUND
        assert worker.call("lane", [lane.segment.fd, bell.fd], **unfit)["code"] == Code.INTERNAL
    assert descriptors() < before + 10
    worker.unload("table")
    lane.close()
    bell.close()


@pytest.mark.parametrize(
    ("platform", "code", "text"),
    [
        ("tempers:ExitsInLoad", Code.INTERNAL, "SystemExit: load"),
        ("exits:Any", Code.INVALID_ARGUMENT, 'platform "exits:Any" can\'t be imported: SystemExit: import'),
        ("nobody", Code.INVALID_ARGUMENT, 'platform "nobody" is not known: '),
    ],
)
def test_loads_that_fail(worker: RunningWorker, platform: str, code: Code, text: str) -> None:
    found, message = error(worker.load("bad", "/", platform))
    assert found == code
    assert message.startswith(text)
    assert worker.process.poll() is None


def test_exits_of_a_plug_in_are_answers(worker: RunningWorker) -> None:
    assert error(worker.load("exits", "/", "tempers:ExitsInRun")) == (0, "")
    worker.unload("exits")
    platform = "tempers:ExitsInUnload"
    assert error(worker.load("exits", "/", platform)) == (0, "")
    assert error(worker.unload("exits")) == (Code.INTERNAL, "SystemExit: unload")
    estimate = worker.call("estimate", servable=["exits", 1], path="/", platform=platform, options={})
    assert error(estimate) == (Code.INTERNAL, "SystemExit: estimate")
    assert error(worker.load("exits", "/", platform)) == (0, ""), "it is forgotten all the same"
    worker.unload("exits")
    assert worker.process.poll() is None


def test_versions_load_beside_each_other(worker: RunningWorker) -> None:
    """Each waits for the other."""
    message: Message = {"path": "/", "platform": "tempers:Together", "options": {}}
    calls = [worker.send("load", servable=["together", number], **message) for number in (1, 2)]
    assert [error(worker.answer(call)) for call in calls] == [(0, ""), (0, "")]
