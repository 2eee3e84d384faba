"""ZeroMQ clients that mean harm: nobody else notices, and nothing of them stays."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from end_to_end import process_facts
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from end_to_end.zmq_client import ZmqClient, differs, predicting
from end_to_end.zmq_facts import address, check, connections, front_end, in_flight, resident
from end_to_end.zmq_load import ZmqLoad
from end_to_end.zmq_questions import halves, one_row

LIMIT = 30.0
NEVER_READ_SECONDS = 3.0
SLOWEST = 10.0  # seconds that a well-behaved client may wait meanwhile, on a machine that the others keep busy
MOST_MEMORY = 700 << 20  # bytes more than before, at any time
MOST_UNREAD = 500 << 20  # that comes after refusals have begun: what is in lanes, and small answers
X = np.array([2.0, 4.0], "f4")
REQUEST = msgpack.packb({"id": 1, **predicting("half_plus_two", {"x": X})})
GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)


def command(name: bytes, *properties: tuple[bytes, bytes]) -> bytes:
    """ZMTP's."""
    body = bytes((len(name),)) + name
    for key, value in properties:
        body += bytes((len(key),)) + key + struct.pack(">I", len(value)) + value
    return b"\x06" + struct.pack(">Q", len(body)) + body


def frame(data: bytes, more: bool = False, size: int | None = None) -> bytes:
    return bytes((2 | more,)) + struct.pack(">Q", len(data) if size is None else size) + data


READY = command(b"READY", (b"Socket-Type", b"DEALER"))
OPEN = GREETING + READY
CHANCE = random.Random(7)

HOSTILE: dict[str, bytes] = {
    "noise": CHANCE.randbytes(100_000),
    "zeros": bytes(100_000),
    "http": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100,
    "half a greeting": GREETING[:20],
    "a greeting alone": GREETING,
    "an old greeting": b"\xff" + bytes(7) + b"\x01\x7f\x01" + bytes(100),
    "another mechanism": GREETING.replace(b"NULL\0", b"PLAIN") + READY,
    "noise behind the greeting": GREETING + CHANCE.randbytes(10_000),
    "no such socket": GREETING + command(b"READY", (b"Socket-Type", b"PUB")),
    "properties without end": GREETING + command(b"READY", *[(b"X" * 200, b"y" * 1000)] * 1000),
    "a property that is too long": GREETING + b"\x04\x20\x05READY\x0bSocket-Type\xff\xff\xff\xffDEALER",
    "an identity that the server makes itself": GREETING
    + command(b"READY", (b"Socket-Type", b"DEALER"), (b"Identity", b"\0abcd"))
    + frame(REQUEST),
    "a long identity": GREETING
    + command(b"READY", (b"Socket-Type", b"DEALER"), (b"Identity", b"i" * 5000))
    + frame(REQUEST),
    "a frame that says much": OPEN + frame(b"x" * 1000, size=1 << 62),
    "a frame that says more than there can be": OPEN + frame(b"x", size=(1 << 64) - 1),
    "half a frame": OPEN + frame(b"x" * 1000, size=100_000),
    "unknown commands": OPEN + command(b"NOPE" * 10) * 1000,
    "pings": OPEN + (b"\x04\x07\x04PING\x00\x64") * 10_000,
    "empty frames": OPEN + frame(b"", more=True) * 100_000 + frame(b""),
    "many frames": OPEN + frame(REQUEST, more=True) + frame(b"f", more=True) * 100_000 + frame(b""),
    "messages of nothing": OPEN + frame(b"") * 10_000,
    "requests": OPEN + frame(REQUEST) * 5000,
    "claims": OPEN + frame(b"\xdf\xff\xff\xff\xff") + frame(b"\xdd\xff\xff\xff\xff") + frame(b"\xc6\xff\xff\xff\xff"),
    "noise for headers": OPEN + b"".join(frame(CHANCE.randbytes(CHANCE.randrange(300))) for _ in range(2000)),
    "flags that there are not": OPEN + b"\xff" * 1000,
}


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    names = ("half_plus_two", "half_plus_two_2d", "echo_big", "text")
    config = ModelConfigFile(tmp_path_factory.mktemp("zmq") / "models.config")
    flag = config.write(*(entry(name, models / name) for name in names))
    with RunningServer(flag, "--max_request_bytes=33554432", zmq=True) as running:
        check(running)
        yield running


@pytest.fixture(autouse=True)
def nothing_stays(server: RunningServer) -> Iterator[None]:
    before, process = connections(server), front_end(server)
    yield
    check(server)
    wait_until(lambda: connections(server) <= before, LIMIT, "their connections gone")
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, LIMIT, "the lanes empty")
    assert front_end(server) == process, "it has died"
    assert "never should" not in server.log


def raw(server: RunningServer, data: bytes) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.zmq_port))
    made.settimeout(1)
    try:
        if data.startswith(OPEN):  # what comes before the server's own greeting is a breach of itself
            made.sendall(OPEN)
            got = b""
            while b"READY" not in got:
                got += made.recv(1000)
            data = data.removeprefix(OPEN)
        made.sendall(data)
    except OSError:  # the server has closed it, or does not read any more
        pass
    return made


def test_bytes_that_are_no_zeromq(server: RunningServer) -> None:
    before = resident(server)
    with ZmqLoad([address(server)], 2, 10, halves(), one_row) as load, ExitStack() as stack:
        for _ in range(3):
            open_ones = [stack.enter_context(raw(server, data)) for data in HOSTILE.values()]
            load.wait_for_answers(100)
            asking = open_ones[list(HOSTILE).index("requests")]
            got = 0
            while got < 100_000:  # by then it has come to the others too
                got += len(asking.recv(1 << 16))
                assert got
            assert resident(server) < before + MOST_MEMORY
            for connection in open_ones:
                connection.close()
        outcome = load.stop()
    assert (outcome.wrong, outcome.lost) == ([], 0)
    assert set(outcome.failed) <= {"UNAVAILABLE"}, outcome.texts  # 5000 requests at once fill a lane
    assert outcome.slowest < SLOWEST


def claims() -> Iterator[Any]:
    """Messages that say more than they have, or have more than anybody needs."""
    yield from (
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\x00\x01\x00\x00",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 1_000_000,
        b"\x81" * 100_000,
    )
    for shape in ([1 << 62], [1 << 31] * 3, [0, 1 << 62], [1 << 62, 0], [-1], [0] * 10_000, [1] * 100, [65536, 65536, 0]):
        for dtype in ("float", "string", "bool", "complex128"):
            data: Any = [] if dtype == "string" else b""
            for each in (False, True):
                yield {"model": "half_plus_two", "each": each, "inputs": [["x", dtype, shape, data]]}
    yield {"model": "half_plus_two", "inputs": [[f"x{number}", "float", [1], b"1234"] for number in range(5000)]}
    yield {"model": "text", "inputs": [["x", "string", [1 << 20], [b""] * (1 << 20)]]}
    yield {"model": "x" * 1_000_000, "inputs": []}
    yield {"id": "i" * 1_000_000, "call": "y" * 1_000_000}
    yield {"id": "i", "call": "status", "model": "z" * 1_000_000}
    yield {"id": "i", "call": "health", "model": {"a": "z" * 1_000_000}}
    yield {"model": "half_plus_two", "outputs": ["y"] * 100_000, "inputs": [["x", "float", [1], b"1234"]]}
    yield {"model": "half_plus_two", "each": True, "inputs": [["x", "float", [1 << 20], bytes(4 << 20)]]}
    yield {"model": "half_plus_two", "each": 65536, "inputs": [["x", "float", [1 << 20], bytes(4 << 20)]]}
    yield {"call": "regress", "model": "half_plus_two", "examples": [b""] * 200_000}
    yield [{}] * 65_536
    yield {str(number): number for number in range(30_000)}


def test_claims(server: RunningServer) -> None:
    before = resident(server)
    with ZmqLoad([address(server)], 2, 10, halves(), one_row) as load, ZmqClient(address(server)) as client:
        for message in claims():
            client.send(message)
            answers = client.gather(65_536 if isinstance(message, list) else 1)
            assert all(len(str(answer.get("error", ""))) < 5000 or len(str(message)) > 900_000 for answer in answers)
            assert resident(server) < before + MOST_MEMORY
        outcome = load.stop()
    assert (outcome.wrong, outcome.lost) == ([], 0)
    assert outcome.slowest < SLOWEST, outcome


def test_large_parts(server: RunningServer) -> None:
    """Larger than any request may be: the connection ends. Frames that add up: an error."""
    with ZmqClient(address(server), RECONNECT_IVL=-1) as client:
        client.send(b"x", bytes(100 << 20))
        assert client.nothing_comes(0.5)
    with ZmqClient(address(server)) as client:
        part = bytes(16 << 20)
        entries = [[f"x{number}", "float", [4 << 20], number] for number in range(4)]
        answer = client.ask({"id": 1, "model": "half_plus_two", "inputs": entries}, *[part] * 4)
        assert (answer["id"], answer["code"]) == (1, 8)


def refused(server: RunningServer) -> float:
    """How many requests were, as the metrics have it."""
    found = re.findall(
        r"ringserve_requests_total\{[^}]*RESOURCE_EXHAUSTED[^}]*\} (\S+)", server.get("/metrics").body.decode()
    )
    return sum(map(float, found))


def test_clients_that_never_read(server: RunningServer) -> None:
    """Of small answers and of large ones: they are refused before memory ends, and others are served."""
    large = np.ones((1, 1 << 18), "f4")
    stop = threading.Event()

    def flood(*parts: bytes) -> None:
        with ZmqClient(address(server), RCVHWM=1, RCVBUF=4096, SNDHWM=10) as client:
            client.socket.sndtimeo = 100
            while not stop.is_set():
                with suppress(zmq.Again):
                    client.socket.send_multipart(parts)

    header = msgpack.packb({"id": 1, "model": "half_plus_two", "inputs": [["x", "float", list(large.shape), 0]]})
    small = msgpack.packb([{"call": "metadata", "model": "text"}] * 50)
    before = refused(server)
    threads = [threading.Thread(target=flood, args=parts) for parts in ((header, large.tobytes()), (small,))]
    with ZmqLoad([address(server)], 2, 10, halves(), one_row, patience=LIMIT) as load:
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: refused(server) > before, LIMIT, "a refusal")
            full = resident(server)
            until = time.monotonic() + NEVER_READ_SECONDS
            while time.monotonic() < until:
                load.wait_for_answers(20)
                assert resident(server) < full + MOST_UNREAD
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        outcome = load.stop()
    assert (outcome.wrong, outcome.failed.total(), outcome.lost) == ([], 0, 0), outcome
    assert outcome.slowest < SLOWEST
    wait_until(lambda: resident(server) < full, LIMIT, "the memory given back")


def test_names_of_others(server: RunningServer) -> None:
    """Who calls itself as somebody else does gets none of their answers."""
    with ZmqClient(address(server), identity=b"somebody") as first:
        first.ask({"call": "health"})
        with ZmqClient(address(server), identity=b"somebody") as second:
            for number in range(100):
                second.send({"id": f"second {number}", **predicting("half_plus_two", {"x": X})})
                first.send({"id": number, **predicting("half_plus_two", {"x": X + number})})
            for answer in first.gather(100):
                assert not differs(answer, y=(X + answer["id"]) / 2 + 3)
            assert second.nothing_comes(0.1)
    with ZmqClient(address(server), identity=b"x" * 255) as client:
        client.send({"id": 1, **predicting("half_plus_two", {"x": X})})
        assert not differs(client.receive()[0], y=X / 2 + 3)


def test_mutated_requests(server: RunningServer) -> None:
    """Each is answered, once."""
    chance = random.Random(3)
    whole = [
        REQUEST,
        msgpack.packb([{"id": 2, **predicting("text", {"x": [b"a", b"b"]})}, {"id": 3, "call": "models"}]),
        msgpack.packb({"id": 4, **predicting("half_plus_two", {"x": X}, each=True, timeout_ms=5000)}),
        msgpack.packb({"id": 5, "call": "classify", "model": "half_plus_two", "examples": [b"ab"]}),
    ]
    with ZmqClient(address(server), SNDHWM=0, RCVHWM=0) as client:
        for _ in range(1500):
            message = bytearray(chance.choice(whole))
            for _ in range(chance.randint(1, 4)):
                message[chance.randrange(len(message))] = chance.randrange(256)
            client.send(bytes(message))
            answer, _ = client.receive()
            answers = answer if isinstance(answer, list) else [answer]
            while message[0] == 0x92 and isinstance(answer, list) and len(answers) < 2:
                answers += client.receive()[0]
            assert all("outputs" in each or "error" in each or "models" in each for each in answers)
        assert client.nothing_comes(0.2)
    wait_until(lambda: not in_flight(server), LIMIT, "no request in flight")
