"""ZeroMQ: one DEALER for all slots, as one client with many requests under way; ids say whose an answer is."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from bench.harness.request_set import RequestSet
from bench.harness.short_wait import wait
from bench.harness.transport import CONNECTION, RIGHT
from bench.harness.zmq_messages import ZmqRequest, id_of
from bench.zmq_messages import ID_BYTES
from ringserve.client.zmq.address import ZmqAddress
from ringserve.errors import ServingError

CONNECT_SECONDS: Final = 5.0
_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_RECONNECT_MS: Final = 20
_COPIED_BELOW: Final = 512 << 10


class ZmqTransport:
    """A `Transport`. While there is no connection ZeroMQ keeps what is sent, so that such requests wait for the server."""

    def __init__(self, requests: RequestSet, slots: int) -> None:
        """Connects. Raises ValueError for a URL of another form, OSError where the server can't be reached."""
        self._requests = [ZmqRequest(request, requests) for request in requests.requests]
        self._sent: list[tuple[bytes, ZmqRequest] | None] = [None] * slots  # the id and the request on its way
        self._waiting: dict[bytes, int] = {}  # slots by ids
        self._number = 0
        self._is_empty = False  # nothing was there, and nothing was sent since: so the descriptor tells when there is
        self._dealer = Dealer(requests.url, CONNECT_SECONDS)
        self._epoll = select.epoll()
        for descriptor in self._dealer.descriptors:
            self._epoll.register(descriptor, select.EPOLLIN)

    def send(self, slot: int, request: int) -> None:
        which = self._requests[request]
        self._is_empty = False
        self._number += 1
        identifier = self._number.to_bytes(ID_BYTES, "big")
        self._waiting[identifier] = slot
        self._sent[slot] = identifier, which
        self._dealer.send(which.header(identifier), which.frames)

    def poll(self, seconds: float) -> Iterator[tuple[int, str]]:
        found = None if self._is_empty else self._taken()
        if found is None:
            wait(self._epoll, seconds)
            found = self._taken()
        if found is None and self._dealer.was_lost():
            for slot in list(self._waiting.values()):
                self.abandon(slot)
                yield slot, CONNECTION
        while found is not None:
            if found[0] >= 0:
                yield found
            found = self._taken()

    def abandon(self, slot: int) -> None:
        sent = self._sent[slot]
        self._sent[slot] = None
        if sent is not None:
            self._waiting.pop(sent[0], None)

    def close(self) -> None:
        self._epoll.close()
        self._dealer.close()

    def _taken(self) -> tuple[int, str] | None:
        """The next answer; of slot -1 one that nobody waits for; None: there is none."""
        header = self._dealer.receive()
        if header is None:
            self._is_empty = True
            return None
        slot = self._waiting.pop(id_of(header), -1)
        sent = self._sent[slot] if slot >= 0 else None
        if sent is None:
            self._dealer.receive_rest()
            return -1, RIGHT
        self._sent[slot] = None
        which = sent[1]
        if not which.answer_frames and which.is_right_header(header):  # so that nothing is behind it
            return slot, RIGHT
        return slot, which.kind((header, *self._dealer.receive_rest()))


class Dealer:
    """A connection that comes back by itself, and says when it was lost."""

    def __init__(self, url: str, seconds: float) -> None:
        """Waits so long for it. Raises ValueError for a URL of another form, OSError where there is none."""
        address = ZmqAddress.of(url)
        try:
            endpoint, ipv6 = address.endpoint()
        except ServingError as error:
            raise OSError(errno.EHOSTUNREACH, error.message) from error
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._monitor = self._socket.get_monitor_socket(_EVENTS)
        self._send: Callable[..., object] = super(zmq.Socket, self._socket).send  # without the part that is in Python
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self._socket.setsockopt(zmq.IPV6, int(ipv6))
        self._socket.connect(endpoint)
        gives_up = time.monotonic() + seconds
        while not self._monitor.poll(max(0, round((gives_up - time.monotonic()) * 1000))):
            if time.monotonic() >= gives_up:
                self.close()
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), url)
        self.was_lost()

    @property
    def descriptors(self) -> tuple[int, int]:
        """Readable when there may be something to receive, or to know; until then nothing comes."""
        return self._socket.getsockopt(zmq.FD), self._monitor.getsockopt(zmq.FD)  # type: ignore[return-value]

    def send(self, header: bytes, frames: list[bytes]) -> None:
        if not frames:
            self._send(header)
            return
        self._send(header, zmq.SNDMORE)
        for frame in frames[:-1]:
            self._send(frame, zmq.SNDMORE, copy=len(frame) < _COPIED_BELOW)
        self._send(frames[-1], copy=len(frames[-1]) < _COPIED_BELOW)

    def receive(self) -> bytes | None:
        """A message's first part; None: nothing is there."""
        try:
            return self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def receive_rest(self) -> list[bytes]:
        """The parts behind the first."""
        parts = []
        while self._socket.getsockopt(zmq.RCVMORE):
            parts.append(self._socket.recv())  # they are there together
        return parts

    def receive_all(self, seconds: float) -> list[bytes] | None:
        """A whole message; None: nothing has come within that time."""
        if not self._socket.poll(round(seconds * 1000)):
            return None
        return self._socket.recv_multipart()

    def was_lost(self) -> bool:
        """Since this was asked last."""
        lost = False
        with suppress(zmq.Again):
            while True:
                lost |= recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"] == zmq.EVENT_DISCONNECTED
        return lost

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
        self._context.term()
