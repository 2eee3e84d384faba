"""Clients that send their requests, and read their answers, a few bytes at a time: over HTTP, beside the load."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from bench.harness.chaos import Deed
from bench.harness.http_reader import BadAnswerError, HttpReader
from bench.harness.http_transport import connected, resolved
from bench.harness.request_set import RequestSet

_STEP: Final = 0.1  # s
_STEPS: Final = 20  # that a request takes to be sent
_FEW: Final = 16  # bytes read in the first steps; twice as many after each further _DOUBLED, or megabytes would take days
_DOUBLED: Final = 8
_BUFFER: Final = 4096  # bytes that the kernel takes for a client that does not read


def slow_clients(requests: RequestSet, count: int) -> Deed:
    """They begin with the load, and go on until it is over. Raises ValueError for another protocol than HTTP."""
    if not requests.url.startswith("http://"):
        raise ValueError("slow clients speak HTTP only")
    messages = [request.parts[0] for request in requests.requests]

    def deed(over: threading.Event) -> Iterator[str]:
        where = resolved(requests.url)
        clients = [_SlowClient(where, messages, index) for index in range(count)]
        yield f"{count} slow clients"
        while not over.wait(_STEP):
            for client in clients:
                client.step()
        for client in clients:
            client.close()
        counts = [sum(numbers) for numbers in zip(*(client.counts for client in clients), strict=True)]
        yield "slow clients: {} answers, {} refused, {} cut off".format(*counts)

    return deed


class _SlowClient:
    """Does a little with every step."""

    def __init__(self, where: tuple[int, object], messages: Sequence[bytes], index: int) -> None:
        self._where = where
        self._messages = messages
        self._next = index
        self._sock: socket.socket | None = None
        self.answered = self.refused = self.cut_off = 0

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.answered, self.refused, self.cut_off

    def step(self) -> None:
        try:
            self._go_on()
        except BlockingIOError:
            return
        except (OSError, BadAnswerError):
            self.cut_off += 1
            self.close()

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _go_on(self) -> None:
        if self._sock is None:
            self._sock = connected(self._where)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._sock.setblocking(False)
            self._begin()
        elif self._sent < len(self._message):
            piece = max(1, len(self._message) // _STEPS)
            self._sent += self._sock.send(self._message[self._sent : self._sent + piece])
        else:
            self._read(self._sock)

    def _begin(self) -> None:
        self._message = self._messages[self._next % len(self._messages)]
        self._next += 1
        self._sent = self._reads = 0
        self._reader = HttpReader()

    def _read(self, sock: socket.socket) -> None:
        piece = sock.recv(_FEW << min(self._reads // _DOUBLED, _DOUBLED * 2))
        self._reads += 1
        answer = self._reader.feed(piece) if piece else self._reader.end()
        if answer is None:
            if not piece:
                raise ConnectionResetError("closed before the answer's end")
            return
        if answer.head.status == 200:
            self.answered += 1
        else:
            self.refused += 1
        if answer.head.closes or not piece:
            self.close()
        else:
            self._begin()
