"""gRPC: a few connections, shared by the slots, all driven from one thread through one epoll."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from bench.harness.grpc_answers import GrpcAnswer
from bench.harness.http2_connection import REFUSED, Ended, Http2Connection
from bench.harness.http2_frames import BadConnectionError, Template
from bench.harness.http_transport import CONNECT_SECONDS
from bench.harness.request_set import RequestSet
from bench.harness.short_wait import wait
from bench.harness.transport import CONNECTION
from ringserve.client.socket_path import socket_path

_PAUSE_SECONDS: Final = 0.02  # until a refused connection is told, or clients that go on at once would count their own speed
_PIECE: Final = 1 << 18
_READ: Final = select.EPOLLIN
_WRITE: Final = select.EPOLLOUT


class GrpcTransport:
    """A `Transport`. `about` of the requests: the `method`'s path, and how many `connections` there are at most."""

    def __init__(self, requests: RequestSet, slots: int) -> None:
        """Connects. Raises ValueError for a URL of another form, OSError where the server can't be reached."""
        self._where = grpc_address(requests.url)
        self._method = requests.about["method"].encode()
        self._templates = [Template.of(request.parts[0]) for request in requests.requests]
        self._answers = [GrpcAnswer(request, requests) for request in requests.requests]
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._under_way: list[tuple[int, _Connection | None] | None] = [None] * slots  # request and its connection
        self._retried = [False] * slots
        self._ended: deque[tuple[int, str]] = deque()  # that is to be told
        self._refused: deque[tuple[float, int]] = deque()  # when to tell a slot, in seconds of the monotonic clock
        self._connections: list[_Connection | None] = [None] * max(1, min(slots, requests.about.get("connections", 1)))
        try:
            for place in range(len(self._connections)):
                sock = socket.socket(self._where[0], socket.SOCK_STREAM)
                sock.settimeout(CONNECT_SECONDS)
                try:
                    sock.connect(self._where[1])
                except OSError:
                    sock.close()
                    raise
                self._connections[place] = self._opened(sock)
        except OSError as error:
            self.close()
            raise type(error)(error.errno, f"{requests.url}: {error.strerror or error}") from error

    def send(self, slot: int, request: int) -> None:
        self._retried[slot] = False
        self._send(slot, request)

    def _send(self, slot: int, request: int) -> None:
        place = slot % len(self._connections)
        connection = self._connections[place]
        if connection is None or connection.http2.is_going:
            connection = self._connections[place] = self._connect()
        self._under_way[slot] = request, connection
        if connection is None:
            self._refuse(slot)
            return
        connection.http2.call(slot, self._templates[request])
        self._flush(connection)

    def poll(self, seconds: float) -> Iterator[tuple[int, str]]:
        if self._refused:
            seconds = min(seconds, max(self._refused[0][0] - time.monotonic(), 0.0))
        if not self._ended:
            for fd, events in wait(self._epoll, seconds):
                connection = self._by_fd.get(fd)
                if connection is None:  # closed meanwhile
                    continue
                if events & _WRITE:
                    self._flush(connection)
                if events & ~_WRITE:
                    self._read(connection)
                while self._ended:
                    yield self._ended.popleft()
        while self._ended:
            yield self._ended.popleft()
        while self._refused and self._refused[0][0] <= time.monotonic():
            _, slot = self._refused.popleft()
            self._under_way[slot] = None
            yield slot, CONNECTION

    def abandon(self, slot: int) -> None:
        under_way, self._under_way[slot] = self._under_way[slot], None
        if under_way is None:
            self._ended = deque(each for each in self._ended if each[0] != slot)
            return
        connection = under_way[1]
        if connection is None or connection.sock is None:
            self._refused = deque(each for each in self._refused if each[1] != slot)
            return
        connection.http2.cancel(slot)
        self._flush(connection)

    def close(self) -> None:
        for connection in list(self._by_fd.values()):
            self._close(connection)
        self._epoll.close()

    def _read(self, connection: _Connection) -> None:
        sock = connection.sock
        if sock is None:
            return
        try:
            piece = sock.recv(_PIECE)
            if not piece:
                raise ConnectionError
            ended = connection.http2.feed(piece)
        except BlockingIOError:
            return
        except (OSError, BadConnectionError):
            self._lost(connection)
            return
        connection.is_new = False
        for each in ended:
            self._end(each)
        if connection.http2.outgoing:
            self._flush(connection)
        if connection.http2.is_going and not connection.http2.keys:
            self._close(connection)

    def _end(self, ended: Ended) -> None:
        slot = ended.key
        under_way, self._under_way[slot] = self._under_way[slot], None
        assert under_way is not None
        request = under_way[0]
        if ended.status is None and ended.reason == REFUSED and not self._retried[slot]:
            self._retried[slot] = True  # as every client of gRPC does: the server has not looked at it
            self._send(slot, request)
            return
        self._ended.append((slot, self._answers[request].kind(ended)))

    def _flush(self, connection: _Connection) -> None:
        sock, outgoing = connection.sock, connection.http2.outgoing
        if sock is None:
            return
        try:
            sent = sock.send(outgoing) if outgoing else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(connection)
            return
        del outgoing[:sent]
        if bool(outgoing) != connection.is_waiting:
            connection.is_waiting = bool(outgoing)
            self._epoll.modify(sock.fileno(), _READ | _WRITE if outgoing else _READ)

    def _lost(self, connection: _Connection) -> None:
        self._close(connection)
        for slot in connection.http2.keys:
            if connection.is_new:  # it never was one
                self._refuse(slot)
            else:
                self._under_way[slot] = None
                self._ended.append((slot, CONNECTION))

    def _refuse(self, slot: int) -> None:
        self._refused.append((time.monotonic() + _PAUSE_SECONDS, slot))

    def _connect(self) -> _Connection | None:
        """Begins to. None: there is none to be had."""
        family, address = self._where
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(address)
        except BlockingIOError:
            pass
        except OSError:
            sock.close()
            return None
        return self._opened(sock)

    def _opened(self, sock: socket.socket) -> _Connection:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        host = "localhost" if sock.family == socket.AF_UNIX else f"{self._where[1][0]}:{self._where[1][1]}"
        fields = ((b":authority", host.encode()), (b"te", b"trailers"), (b"content-type", b"application/grpc"))
        connection = _Connection(sock, Http2Connection(self._method, fields))
        self._by_fd[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), _READ | _WRITE)
        return connection

    def _close(self, connection: _Connection) -> None:
        sock, connection.sock = connection.sock, None
        if sock is not None:
            del self._by_fd[sock.fileno()]
            sock.close()  # which takes it out of the epoll
        for place, each in enumerate(self._connections):
            if each is connection:
                self._connections[place] = None


class _Connection:
    """`is_waiting`: what is outgoing did not fit into the socket's buffer; `is_new`: the server has said nothing yet."""

    __slots__ = ("http2", "is_new", "is_waiting", "sock")

    def __init__(self, sock: socket.socket, http2: Http2Connection) -> None:
        self.sock: socket.socket | None = sock
        self.http2 = http2
        self.is_waiting = True
        self.is_new = True


def grpc_address(url: str) -> tuple[int, Any]:
    """A family of sockets, and an address of it. Raises ValueError for a URL of another form, OSError for no such host."""
    if url.startswith("grpc+unix://"):
        return socket.AF_UNIX, socket_path(url, "grpc+unix")
    parts = urlsplit(url)
    if parts.scheme != "grpc" or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is not the address of a server: grpc://host:port is expected")
    found = socket.getaddrinfo(parts.hostname, parts.port or 8500, type=socket.SOCK_STREAM)
    family, _, _, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, where
