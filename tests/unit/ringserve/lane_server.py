"""A server for local clients, with workers, in threads of the test: y = x / 2 + 2, of whatever form x has.

It is held, told to end lanes, and made to fail by the tests.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ringserve.channel import Channel, Message
from ringserve.errors import Code
from shm.bell import Bell
from shm.consumer import LaneConsumer, Ticket
from shm.lane import Lane
from shm.layout import PACKED, Column, LaneSpec
from shm.packed import PackedTensor, pack_strings, unpack_strings

LIMIT = 20.0  # seconds: for what should take ms
RING = 1 << 20
FLOAT, STRING = 1, 7

HALF = {
    "method": "tensorflow/serving/predict",
    "inputs": {"x": ["x:0", FLOAT, [-1, 1]]},
    "outputs": {"y": ["y:0", FLOAT, [-1, 1]]},
}
CLASSIFY = {
    "method": "tensorflow/serving/classify",
    "inputs": {"inputs": ["in:0", STRING, [-1]]},
    "outputs": {"classes": ["c:0", STRING, [-1, -1]], "scores": ["s:0", FLOAT, [-1, -1]]},
}
REGRESS = {
    "method": "tensorflow/serving/regress",
    "inputs": {"inputs": ["in:0", STRING, [-1]]},
    "outputs": {"outputs": ["o:0", FLOAT, [-1, 1]]},
}
SIGNATURES: dict[str, dict[str, Any]] = {"serving_default": HALF, "classify": CLASSIFY, "regress": REGRESS}


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "that should have happened by now"
        time.sleep(0.001)


class WorkerLane:
    """The other side of one lane: answers what comes, unless its server holds it."""

    def __init__(self, server: LaneServer, number: int, terms: Message, lane: Lane, bell: Bell) -> None:
        self.server = server
        self.number = number
        self.terms = terms
        self.consumer = LaneConsumer(lane)
        self.bell = bell
        self.requests = 0
        self.abandoned = 0
        self.forms: list[str] = []  # "rows" or "packed" of each request
        self.flags: list[int] = []  # the same, as the client wrote them
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """As a worker's death looks like."""
        self.ended.set()
        self._thread.join()

    def _run(self) -> None:
        gone = False
        while not self.ended.is_set() and not gone:
            if self.server.running.is_set() and self.consumer.waiting:
                self._answer()
            elif self.bell.wait(0.02):
                gone = not self.bell.clear()
        self.bell.close()
        self.ended.set()

    def _answer(self) -> None:
        ticket = self.consumer.take(min(self.consumer.waiting, self.server.most_taken))
        for number in range(ticket.start, ticket.end):
            self._answer_one(number)
        self._finish(ticket)

    def _finish(self, ticket: Ticket) -> None:
        now = time.monotonic_ns()
        if self.consumer.finish(ticket, now, now, 1) and not self.server.mute:
            self.bell.ring()

    def _answer_one(self, number: int) -> None:
        self.requests += 1
        position, _, rows, flags, _ = self.consumer.describe(number)
        self.forms.append("packed" if flags & PACKED else "rows")
        self.flags.append(flags)
        if flags & 2:
            self.abandoned += 1
        if self.server.fault is not None and (fault := self.server.fault(self, number)) is not None:
            text = fault[1].encode()
            self.consumer.set_status(number, fault[0])
            assert self.consumer.answer(number, [PackedTensor(0, (len(text),), text)])
        elif flags & PACKED:
            assert self.consumer.answer(number, self._packed(self.consumer.request(number)))
        else:
            lane = self.consumer.lane
            for target, source in zip(lane.outputs, lane.inputs, strict=True):
                target[position : position + rows] = source[position : position + rows] / 2 + 2

    def _packed(self, tensors: list[PackedTensor]) -> list[PackedTensor]:
        if self.terms["signature"] == "serving_default":
            (tensor,) = tensors
            values = np.frombuffer(tensor.data, "<f4") / 2 + 2
            return [PackedTensor(tensor.dtype, tensor.shape, values.astype("<f4").tobytes())]
        (tensor,) = tensors
        texts = unpack_strings(tensor.data, tensor.shape[0])
        scores = np.array([[len(text), len(text) / 2] for text in texts], "<f4")
        if self.terms["signature"] == "regress":
            return [PackedTensor(FLOAT, (len(texts), 1), scores[:, :1].tobytes())]
        labels = pack_strings([label for _ in texts for label in (b"long", b"half")])
        return [PackedTensor(STRING, (len(texts), 2), labels), PackedTensor(FLOAT, (len(texts), 2), scores.tobytes())]


class Connection:
    """One client's control connection."""

    def __init__(self, server: LaneServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.channel = Channel(sock)
        self.pid = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                for message, fds in self.channel.receive():
                    assert not fds
                    self.server.got.append(message)
                    self._on_message(message)
        self.sock.close()

    def _on_message(self, message: Message) -> None:
        kind = message["type"]
        if kind == "hello":
            self.pid = message["pid"]
            self.channel.send({"type": "welcome", "v": 1, "server": "a test"})
        elif kind == "open":
            if self.server.opens.is_set():
                self.open(message)
            else:
                self.server.unopened.append((self, message))
        elif kind == "ask":
            self._ask(message)

    def open(self, message: Message) -> None:
        fds: list[int] = []
        try:
            terms, fds = self.server.make_lane(message)
            self.channel.send({"type": "lane", "call": message["call"], **terms}, fds)
        except Refusal as refusal:
            code, text = refusal.args
            self.channel.send({"type": "error", "call": message["call"], "code": int(code), "error": text})
        finally:  # also where the client has gone
            for fd in fds:
                os.close(fd)

    def _ask(self, message: Message) -> None:
        question = message["question"]
        if question["call"] == "metadata":
            answer: Message = {"model": question["model"], "version": self.server.version, "signatures": SIGNATURES}
        elif question["call"] == "models":
            answer = {"models": ["half"]}
        elif question["call"] == "health":
            answer = {"ready": True}
        else:
            self.channel.send({"type": "error", "call": message["call"], "code": 5, "error": "no such model"})
            return
        self.channel.send({"type": "told", "call": message["call"], "answer": {"v": 1, "id": question["id"], **answer}})


class Refusal(Exception):
    """Why there is no lane: a code and a text."""


class LaneServer:
    """All of its parts are for tests to look at and to set."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.version = 1
        self.columns = True  # are there any?
        self.signatures = dict(SIGNATURES)
        self.mute = False  # workers answer and don't ring
        self.most_taken = 64
        self.fault: Callable[[WorkerLane, int], tuple[int, str] | None] | None = None
        self.running = threading.Event()  # workers do
        self.running.set()
        self.opens = threading.Event()  # lanes are opened at once
        self.opens.set()
        self.unopened: list[tuple[Connection, Message]] = []
        self.lanes: list[WorkerLane] = []
        self.got: list[Message] = []
        self.connections: list[Connection] = []
        self.rows = 1024
        self.slots = 4096
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.connections.append(Connection(self, self.listener.accept()[0]))

    def make_lane(self, message: Message) -> tuple[Message, list[int]]:
        specs = self.signatures.get(message["signature"])
        if specs is None:
            raise Refusal(Code.INVALID_ARGUMENT, f"no signature {message['signature']}")
        if message["model"] != "half":
            raise Refusal(Code.NOT_FOUND, f"Servable not found for request: Latest({message['model']})")
        columns = self._columns(message, specs)
        spec = LaneSpec.from_wire(columns, RING)
        lane = Lane.create(spec, {})
        near, far = Bell.pair()
        number = len(self.lanes) + 1
        terms = {
            "lane": number,
            "model": message["model"],
            "version": message.get("version", self.version),
            "signature": message["signature"],
            "columns": columns,
            "ring_bytes": RING,
            "most_rows": 64,
            "specs": specs,
        }
        fds = [os.dup(lane.segment.fd), os.dup(far.fd)]
        far.close()
        lane.close()
        self.lanes.append(WorkerLane(self, number, terms, lane, near))
        return terms, fds

    def _columns(self, message: Message, specs: Message) -> Any:
        if not self.columns or specs is not HALF:
            return None
        wanted = message["inputs"] or [[FLOAT, "<f4", [1]]]
        return [wanted, wanted]

    def open_those_that_wait(self) -> None:
        self.opens.set()
        for connection, message in self.unopened:
            connection.open(message)

    def tell(self, message: Message) -> None:
        """All clients."""
        for connection in self.connections:
            with suppress(OSError):
                connection.channel.send(message)

    def kinds(self, kind: str) -> list[Message]:
        return [message for message in list(self.got) if message["type"] == kind]

    def drop_connections(self) -> None:
        for connection in self.connections:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            connection.thread.join()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.drop_connections()
        self.running.set()
        for lane in self.lanes:
            lane.end()


@contextmanager
def lane_server(folder: Path) -> Iterator[LaneServer]:
    server = LaneServer(str(folder / "local.sock"))
    try:
        yield server
    finally:
        server.close()


def column(shape: tuple[int, ...]) -> Column:
    return Column("<f4", shape)
