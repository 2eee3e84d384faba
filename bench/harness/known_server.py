"""A server whose answers take a known time: what `bench self-test` holds the load generator against.

A program: settings as JSON are its argument, its port is its first line, and when its input ends it prints what it did.
One thread a connection, so that requests wait for nothing but their own delay.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from bench.histogram import Histogram
from ringserve.child import become

RIGHT: Final = b'{"predictions":[2.5]}'
WRONG: Final = b'{"predictions":[2.6]}'
_SWITCH_SECONDS: Final = 0.0001  # a thread whose delay is over does not wait for the others' turns
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """In seconds. Every `slow_every`-th request is slow, and so on; 0: none. Request 0 is as it should be."""

    delay: float = 0.0
    slow_delay: float = 0.0
    slow_every: int = 0
    stall_at: float = 0.0  # since the second request; requests that come from then on are answered when it is over
    stall: float = 0.0
    wrong_every: int = 0
    refused_every: int = 0
    dropped_every: int = 0  # the connection is closed instead of an answer


@dataclass(slots=True)
class Tally:
    """What the server did, request 0 included."""

    requests: int = 0
    wrong: int = 0
    refused: int = 0
    dropped: int = 0
    durations: Histogram = field(
        default_factory=Histogram
    )  # ns from a request's last byte to its answer's; right ones alone

    def to_wire(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("requests", "wrong", "refused", "dropped")}
        return {**counts, "durations": self.durations.to_wire()}


class _Server:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._numbers = itertools.count()
        self._stall_from = self._stall_until = float("inf")
        self._lock = threading.Lock()
        self._durations: list[int] = []
        self.tally = Tally()

    def serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            try:
                while self._receive(connection) and self._answer(connection):
                    pass
            except OSError:
                return

    def end(self) -> Tally:
        with self._lock:
            self.tally.durations.record(self._durations)
            return self.tally

    def _receive(self, connection: socket.socket) -> bool:
        """A whole request; False: the client is gone."""
        received = b""
        while True:
            piece = connection.recv(1 << 16)
            if not piece:
                return False
            received += piece
            head, end, body = received.partition(b"\r\n\r\n")
            if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0"):
                return True

    def _answer(self, connection: socket.socket) -> bool:
        """False: the connection is to be closed."""
        began = time.monotonic()
        number, settings = next(self._numbers), self._settings
        if number == 1 and settings.stall:
            self._stall_from = began + settings.stall_at
            self._stall_until = self._stall_from + settings.stall
        delay = settings.slow_delay if _is(number, settings.slow_every) else settings.delay
        until = began + delay
        if began >= self._stall_from:
            until = max(until, self._stall_until)
        if (left := until - time.monotonic()) > 0:
            time.sleep(left)
        return self._send(connection, number, began)

    def _send(self, connection: socket.socket, number: int, began: float) -> bool:
        settings = self._settings
        kinds = {"dropped": settings.dropped_every, "refused": settings.refused_every, "wrong": settings.wrong_every}
        kind = next((name for name, every in kinds.items() if _is(number, every)), "")
        with self._lock:
            self.tally.requests += 1
            if kind:
                setattr(self.tally, kind, getattr(self.tally, kind) + 1)
        if kind == "dropped":
            return False
        status = b"503 Busy" if kind == "refused" else b"200 OK"
        body = WRONG if kind == "wrong" else RIGHT
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        connection.sendall(head + body)
        if not kind and number:
            self._durations.append(int((time.monotonic() - began) * 1e9))
        return True


def _is(number: int, every: int) -> bool:
    return bool(every) and number % every == every - 1


def main() -> None:
    become("bench known server")
    sys.setswitchinterval(_SWITCH_SECONDS)
    server = _Server(Settings(**json.loads(sys.argv[1])))
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        print(listener.getsockname()[1], flush=True)

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()
        print(json.dumps(server.end().to_wire()), flush=True)


if __name__ == "__main__":
    main()
