"""A hostile client of the local front end, as a program: `hostile_local_client.py SOCKET ATTACK SECONDS SEED`.

What an attack finds is written as JSON: the test that has it run knows what there should be.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from end_to_end.raw_local_client import RawLane, RawLocalClient, framed
from shm import packed
from shm.layout import COMPLETED, PACKED, RELEASED, SUBMITTED, TAKEN
from shm.packed import PackedTensor

TARGETS = (("half_plus_two", ""), ("half_plus_two_2d", ""), ("text", ""), ("identity", "bool"), ("identity", "string"))
STRANGE = [0, 1, 2, 7, 63, 64, 255, 4095, 4096, 4097, 8191, 8192, 8193, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63,
           2**64 - 64, 2**64 - 1]  # fmt: skip
_PUNCH_HOLE = 2 | 1  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_libc = ctypes.CDLL(None, use_errno=True)


class Attacks:
    """Each method is one, and goes on for `seconds` or until it is done."""

    def __init__(self, path: str, seconds: float, seed: int) -> None:
        self.path = path
        self.seconds = seconds
        self.random = random.Random(seed)
        self.found: Counter[str] = Counter()

    def until(self) -> Iterator[int]:
        end = time.monotonic() + self.seconds
        turn = 0
        while time.monotonic() < end:
            yield turn
            turn += 1

    def strange(self) -> int:
        return self.random.choice([*STRANGE, self.random.getrandbits(64)])

    def lane_after_lane(self, go_on: Callable[[RawLane], None], targets: tuple[tuple[str, str], ...] = TARGETS) -> None:
        """`go_on` with one, until the server closes it; then with another."""
        with RawLocalClient(self.path) as client:
            lane: RawLane | None = None
            for _ in self.until():
                if lane is None or lane.is_over:
                    self.found["lanes"] += 1
                    if lane is not None:
                        client.send({"type": "close", "lane": lane.terms["lane"]})
                        lane.close()
                    lane = client.open(*self.random.choice(targets))
                with suppress(OSError):
                    go_on(lane)

    def words_everywhere(self) -> None:
        """Header, descriptors, records, columns and rings, while requests go on."""

        def go_on(lane: RawLane) -> None:
            whole = memoryview(lane.lane.segment.map)
            pick = self.random
            spec = lane.spec
            for _ in range(40):
                area = pick.choice([(1024, spec.requests_offset), (spec.requests_offset, spec.requests_offset + 4096),
                                    (spec.answers_offset, spec.answers_offset + 4096), (4096, 8192)])  # fmt: skip
                at = pick.randrange(*area) // 8 * 8
                whole[at : at + 8] = struct.pack("<Q", self.strange())
            if pick.random() < 0.03:
                lane.words[pick.randrange(128)] = self.strange()
            number = lane.words[SUBMITTED]
            if lane.words[COMPLETED] <= number < lane.words[RELEASED] + spec.slots:
                for more in range(8):
                    lane.write(number + more, pick.randrange(64), 0, 1) if spec.rows else lane.write(
                        number, 0, 64, 1, PACKED
                    )
                lane.words[SUBMITTED] = number + 8
            lane.release()
            lane.ring()

        self.lane_after_lane(go_on)

    def cursors(self) -> None:
        def go_on(lane: RawLane) -> None:
            submitted, slots = lane.words[SUBMITTED], lane.spec.slots
            near = [submitted + 1, submitted + slots, submitted + slots + 1, submitted - 1, submitted + 2**32]
            lane.words[self.random.choice([SUBMITTED, SUBMITTED, RELEASED, TAKEN, COMPLETED])] = (
                self.random.choice([*STRANGE, *near]) % 2**64
            )
            lane.ring()
            time.sleep(0.0005)

        self.lane_after_lane(go_on)

    def rows_outside(self) -> None:
        def go_on(lane: RawLane) -> None:
            rows = lane.spec.rows
            position = self.random.choice([*STRANGE, rows - 1, rows])
            count = self.random.choice([*STRANGE, rows, rows // 2 + 1, rows // 2])
            if count % 2**32 and 0 < count % 2**32 <= min(rows - position, lane.terms["most_rows"]):
                return
            code = lane.code(lane.submit(position, 0, count))
            self.found[f"code {code}"] += 1

        self.lane_after_lane(go_on, (("half_plus_two", ""), ("half_plus_two_2d", "")))

    def packed_lies(self) -> None:
        """Lengths, offsets, counts, types, shapes and tables of strings."""

        def go_on(lane: RawLane) -> None:
            if lane.words[SUBMITTED] - lane.words[COMPLETED]:
                return
            pick = self.random
            texts = [b"text"] * 3
            is_text = "text" in lane.terms["model"] or lane.terms["signature"] == "string"
            data = packed.pack_strings(texts) if is_text else np.arange(3, dtype="<f4").tobytes()
            dtype = 7 if is_text else 10 if lane.terms["signature"] == "bool" else 1
            tensors = [PackedTensor(dtype, (3,), data)] * pick.choice([1, 1, 1, 2, 0])
            ring = lane.lane.requests
            packed.write(ring, tensors)
            for _ in range(pick.choice([1, 1, 2, 3])):
                at = pick.choice([0, 8, 12, 16, 20, 24, 32, 40, 64, 72, 80, 88])
                size = pick.choice([4, 8])
                ring[at : at + size] = struct.pack("<Q", self.strange())[:size]
            length = pick.choice([packed.size(tensors)] * 9 + [self.strange()])
            position = pick.choice([0] * 9 + [self.strange()])
            lane.release()
            code = lane.code(lane.submit(position, length, self.strange(), PACKED | pick.choice([0] * 9 + [4, 2])))
            self.found[f"code {code}"] += 1

        self.lane_after_lane(go_on)

    def bools(self) -> None:
        """That are neither true nor false, in columns and packed."""
        with RawLocalClient(self.path) as client:
            lane = client.open("identity", "bool")
            for turn in self.until():
                lane.lane.inputs[0].view(np.uint8)[:4] = [[turn % 256, 2], [0, 1], [255, 128], [1, 0]]
                assert lane.code(lane.submit(0, 0, 4)) == 0
                answer = lane.lane.outputs[0].view(np.uint8)[:4].tolist()
                assert answer == [[min(turn % 256, 1), 1], [0, 1], [1, 1], [1, 0]], answer
                lane.release()
                packed.write(lane.lane.requests, [PackedTensor(10, (1, 2), bytes([0, 2 + turn % 254]))])
                self.found[f"code {lane.code(lane.submit(0, 128, 1, PACKED))}"] += 1
                lane.release()

    def changing_inputs(self) -> None:
        """Rows and packed strings that change while they are run."""
        stopping = threading.Event()
        with RawLocalClient(self.path) as client:
            rows, text = client.open("half_plus_two"), client.open("text")
            packed.write(text.lane.requests, [PackedTensor(7, (64,), packed.pack_strings([b"text"] * 64))])

            def change() -> None:
                turn = 0
                while not stopping.is_set():
                    turn += 1
                    rows.lane.inputs[0][:4096] = turn
                    text.lane.requests[64 : 64 + 8 * 64] = bytes([turn % 256]) * (8 * 64)
                    text.lane.requests[64 : 64 + 8 * 64] = packed.pack_strings([b"text"] * 64)[: 8 * 64]

            thread = threading.Thread(target=change)
            thread.start()
            try:
                for _ in self.until():
                    asked = rows.submit(0, 0, 4096), text.submit(0, 64 + 12 * 64, 1, PACKED)
                    codes = rows.code(asked[0]), text.code(asked[1])
                    self.found[f"codes {codes}"] += 1
                    for lane in (rows, text):
                        lane.release()
            finally:
                stopping.set()
                thread.join()

    def ringing(self) -> None:
        """As fast as can be, without a request, and never reading what comes back."""
        with RawLocalClient(self.path) as client:
            lanes = [client.open(*target) for target in TARGETS]
            for _ in self.until():
                for lane in lanes:
                    with suppress(BlockingIOError):
                        for _ in range(50):
                            lane.bell.send(bytes(4096))

    def never_reading(self) -> None:
        """Requests whose answers nobody takes: until the lane has no room, and then beyond."""
        with RawLocalClient(self.path) as client:
            for model, signature in TARGETS:
                lane = client.open(model, signature)
                if "text" in model or signature == "string":
                    shape = (1, 2) if signature else (1,)
                    texts = packed.pack_strings([b"t" * 50] * shape[-1])
                    packed.write(lane.lane.requests, [PackedTensor(7, shape, texts)])
                with suppress(OSError):
                    for _ in range(lane.spec.slots):
                        lane.submit(0, 0, 1) if lane.spec.rows else lane.submit(0, 256, 1, PACKED)
                        self.found["submitted"] += 1
            for _ in self.until():
                time.sleep(0.05)

    def flags(self) -> None:
        """Of descriptors that are shared in one way or another."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        with RawLocalClient(self.path) as client:
            lane = client.open("half_plus_two")
            for turn in self.until():
                for sock in (lane.bell, client.socket):
                    flags = fcntl.fcntl(sock, fcntl.F_GETFL)
                    fcntl.fcntl(sock, fcntl.F_SETFL, flags ^ os.O_NONBLOCK ^ (os.O_ASYNC if turn % 2 else 0))
                    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
                    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                        sock.setsockopt(socket.SOL_SOCKET, option, self.random.choice([1, 1 << 20]))
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, turn % 2)
                fcntl.fcntl(lane.fd, fcntl.F_SETFL, os.O_NONBLOCK if turn % 2 else 0)
                lane.bell.setblocking(False)
                lane.ring()
                if turn % 20 == 19:
                    lane.bell.shutdown(self.random.choice([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR]))
                    client.socket.settimeout(20)
                    client.send({"type": "close", "lane": lane.terms["lane"]})
                    lane.close()
                    lane = client.open("half_plus_two")
                    self.found["lanes"] += 1

    def holes(self) -> None:
        """In the memory, while it is used; and all that its seals forbid."""
        with RawLocalClient(self.path) as client:
            lane = client.open("half_plus_two")
            for size in (0, 4096, lane.spec.size * 2):
                try:
                    os.ftruncate(lane.fd, size)
                except PermissionError:
                    self.found["not truncated"] += 1
            for seal in (fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SHRINK, 0x10):
                try:
                    fcntl.fcntl(lane.fd, fcntl.F_ADD_SEALS, seal)
                except PermissionError:
                    self.found["not sealed"] += 1
            for _ in self.until():
                lane.lane.inputs[0][:64] = 2
                with suppress(OSError):
                    lane.submit(0, 0, 64)
                _libc.fallocate(lane.fd, _PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(lane.spec.size))
                if lane.is_over:
                    self.found["lanes"] += 1
                    client.send({"type": "close", "lane": lane.terms["lane"]})
                    lane.close()
                    lane = client.open("half_plus_two")

    def lanes_without_end(self) -> None:
        """Asked for by several, some of whom never read what they get."""
        with ExitStack() as stack:
            deaf = [stack.enter_context(RawLocalClient(self.path)) for _ in range(4)]
            for client in deaf:
                with suppress(OSError):
                    for _ in range(100):
                        client.ask_for_lane(*self.random.choice(TARGETS))
            client = stack.enter_context(RawLocalClient(self.path))
            for _ in range(70):
                client.ask_for_lane("half_plus_two")
            for turn in self.until():
                message, fds = client.receive()
                for fd in fds:
                    os.close(fd)
                self.found[message["type"] if message["type"] == "lane" else f"code {message['code']}"] += 1
                if turn >= 70 and message["type"] == "lane":
                    client.send({"type": "close", "lane": message["lane"]})
                client.ask_for_lane("half_plus_two")

    def descriptors(self) -> None:
        """Sent along: one whose end would take as long as this client likes, in the thread that closes it."""
        with RawLocalClient(self.path) as client, ExitStack() as stack:
            lane = client.open("half_plus_two")
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for sock in (lane.bell, client.socket):
                lingering = socket.create_connection(listener.getsockname())
                lingering.setblocking(False)
                with suppress(BlockingIOError):
                    while True:
                        lingering.send(bytes(1 << 16))
                lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
                try:
                    socket.send_fds(sock, [framed({})[:1] if sock is client.socket else b"\0"], [lingering.fileno()])
                    self.found["sent"] += 1
                except PermissionError:
                    self.found["refused"] += 1
                    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                lingering.close()
            for _ in self.until():
                time.sleep(0.01)

    def nonsense(self) -> None:
        """On the control connection: frames, messages, and questions that nobody waits for."""
        deep: Any = 1
        for _ in range(300):
            deep = [deep]
        head = struct.Struct("<II").pack
        lies = [
            head(2**32 - 1, 0), head(65537, 0) + bytes(65537), head(10, 1) + bytes(10), head(0, 0), head(4, 0) + b"\xc1" * 4,
            framed([1]), framed(1), framed({1: 2}), framed({"type": "open"}), framed({"type": "none", "call": 1}),
            framed({"type": "ask", "call": "1"}),
            framed({"type": "open", "call": 2**70 % 2**64, "model": deep}), self.random.randbytes(50_000),
            b"GET / HTTP/1.1\r\n\r\n" * 99,
            framed({"type": "close", "lane": -1}) * 1000 + framed({"type": "open", "call": None}),
            head(9, 0) + b"\xdf\xff\xff\xff\xff1234", head(5, 0) + b"\xdd\xff\xff\xff\xff",
        ]  # fmt: skip
        wrong_lanes: list[dict[str, Any]] = [
            {"model": 1}, {"model": "x" * 60000}, {"version": "a"}, {"version": 2**63}, {"signature": 5}, {"label": deep},
            {"key": deep}, {"inputs": 7}, {"inputs": []}, {"inputs": [[1, "<f4", [-1]]]}, {"inputs": [[1, "|O", []]]},
            {"inputs": [[1, "<f4", [0]]]}, {"inputs": [[1, "<f4", [2**31 - 1] * 31]]},
        ]  # fmt: skip
        for turn in self.until():
            with RawLocalClient(self.path, hello=turn % 4 > 0) as client:
                with suppress(ConnectionError):
                    client.socket.sendall(lies[turn % len(lies)])
                    client.socket.shutdown(socket.SHUT_WR)
                assert client.is_closed
            with RawLocalClient(self.path) as client:
                for fields in wrong_lanes:
                    client.send(
                        {"type": "open", "call": 5, "model": "half_plus_two", "signature": "", "inputs": None, **fields}
                    )
                    message, _ = client.receive()
                    assert (message["type"], message["call"]) == ("error", 5), (fields, message)
                    self.found[f"code {message['code']}"] += 1
            with RawLocalClient(self.path) as client:
                client.socket.settimeout(0.2)
                with suppress(OSError):
                    for call in range(2000):  # whose answers are never read
                        client.send({"type": "ask", "call": call, "question": {"call": "metadata", "model": "identity"}})
            self.found["turns"] += 1

    def connections(self) -> None:
        """Hundreds at once."""
        for _ in self.until():
            with ExitStack() as stack:
                for number in range(400):
                    with suppress(OSError):
                        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                        sock.setblocking(False)
                        sock.connect(self.path)
                        if number % 2:
                            sock.send(framed({"type": "hello", "v": 1}))
                        self.found["connections"] += 1

    def vanishing(self) -> None:
        """In the middle of everything."""
        for _ in self.until():
            pid = os.fork()
            if not pid:
                with suppress(BaseException):
                    client = RawLocalClient(self.path)
                    lane = client.open("half_plus_two")
                    text = client.open("text")
                    packed.write(text.lane.requests, [PackedTensor(7, (1,), packed.pack_strings([b"text"]))])
                    client.ask_for_lane("identity", "bool")
                    while True:
                        lane.submit(0, 0, 64)
                        text.submit(0, 192, 1, PACKED)
                        for one in (lane, text):
                            one.release()
                os._exit(1)
            time.sleep(self.random.random() * 0.06)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self.found["killed"] += 1


def names() -> list[str]:
    helpers = {"until", "strange", "lane_after_lane"}
    return [name for name in vars(Attacks) if not name.startswith("_") and name not in helpers]


def main(path: str, attack: str, seconds: str, seed: str) -> None:
    attacks = Attacks(path, float(seconds), int(seed))
    getattr(attacks, attack)()
    print(json.dumps(attacks.found))


if __name__ == "__main__":
    main(*sys.argv[1:])
