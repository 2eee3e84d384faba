"""HTTP/1.1: a keep-alive connection for each slot, all driven from one thread through one epoll."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from bench.harness.answers import Expected
from bench.harness.http_answers import expected_answer
from bench.harness.http_reader import BadAnswerError, HttpAnswer, HttpReader
from bench.harness.request_set import RequestSet
from bench.harness.short_wait import wait
from bench.harness.transport import CONNECTION, RIGHT, WRONG
from ringserve.client.http.address import HttpAddress

CONNECT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02  # until a refused connection is told, or clients that go on at once would count their own speed
_PIECE: Final = 1 << 18
_READ: Final = select.EPOLLIN
_WRITE: Final = select.EPOLLOUT


class HttpTransport:
    """A `Transport`. A connection that the server closes between two requests is opened anew with the next one."""

    def __init__(self, requests: RequestSet, slots: int) -> None:
        """Opens the connections. Raises ValueError for a URL of another form, OSError where the server can't be reached."""
        self._where = resolved(requests.url)
        self._messages = [request.parts[0] for request in requests.requests]
        self._expected: list[Expected[HttpAnswer]] = [expected_answer(each, requests) for each in requests.requests]
        self._epoll = select.epoll()
        self._slots: list[_Slot] = []
        self._by_fd: dict[int, _Slot] = {}
        self._refused: deque[tuple[float, _Slot]] = deque()  # when to tell it, in seconds of the monotonic clock
        try:
            for number in range(slots):
                slot = _Slot(number)
                self._slots.append(slot)
                self._opened(slot, connected(self._where))
        except OSError:
            self.close()
            raise

    def send(self, slot: int, request: int) -> None:
        which = self._slots[slot]
        which.request = request
        message = self._messages[request]
        sock = which.sock
        if sock is None:
            self._connect(which, message)
            return
        try:
            sent = sock.send(message)
        except BlockingIOError:
            sent = 0
        except OSError:  # closed by the server, and not heard of yet
            self._connect(which, message)
            return
        if sent < len(message):
            self._send_later(which, memoryview(message)[sent:])

    def poll(self, seconds: float) -> Iterator[tuple[int, str]]:
        if self._refused:
            seconds = min(seconds, max(self._refused[0][0] - time.monotonic(), 0.0))
        by_fd = self._by_fd
        for fd, events in wait(self._epoll, seconds):
            slot = by_fd.get(fd)
            if slot is None:  # closed meanwhile
                continue
            if events & _WRITE:
                self._write(slot)
            kind = self._read(slot) if events & ~_WRITE else None
            if kind is not None:
                yield slot.number, kind
        if self._refused:
            yield from self._refusals()

    def abandon(self, slot: int) -> None:
        self._ended(self._slots[slot])

    def close(self) -> None:
        for slot in self._slots:
            if slot.sock is not None:
                slot.sock.close()
                slot.sock = None
        self._by_fd.clear()
        self._epoll.close()

    def _read(self, slot: _Slot) -> str | None:
        """What becomes of its request; None: not known yet."""
        sock = slot.sock
        if sock is None:  # refused a moment ago
            return None
        try:
            piece = sock.recv(_PIECE)
        except BlockingIOError:
            return None
        except OSError:
            return self._lost(slot)
        if slot.request >= 0:
            return self._feed(slot, piece)
        self._drop(slot)  # nothing was asked: the server has closed it, or talks to itself
        return None

    def _feed(self, slot: _Slot, piece: bytes) -> str | None:
        """Some of its answer; b"": the connection has ended."""
        request = slot.request
        try:
            answer = slot.reader.feed(piece) if piece else slot.reader.end()
        except BadAnswerError:
            self._ended(slot)
            return WRONG
        if answer is None:
            return None if piece else self._lost(slot)
        if slot.unsent is not None or slot.is_over or answer.head.closes or not piece:
            self._drop(slot)
        slot.request = -1
        return self._kind(request, answer)

    def _kind(self, request: int, answer: HttpAnswer) -> str:
        if answer.head.status != 200:
            return str(answer.head.status)
        return RIGHT if self._expected[request].is_right(answer, answer.body) else WRONG

    def _write(self, slot: _Slot) -> None:
        sock, unsent = slot.sock, slot.unsent
        if sock is None or unsent is None:
            return
        try:
            sent = sock.send(unsent)
        except BlockingIOError:
            return
        except OSError:
            if slot.is_new:
                self._refuse(slot)
                return
            slot.is_over = True  # but it may have answered before it had read all
            sent = len(unsent)
        slot.is_new = False
        slot.unsent = unsent[sent:]
        if not slot.unsent:
            slot.unsent = None
            self._epoll.modify(sock.fileno(), _READ)

    def _lost(self, slot: _Slot) -> str | None:
        """The connection has ended before the answer. None: it was not used, or is told later."""
        if slot.is_new and slot.unsent is not None:
            self._refuse(slot)
            return None
        waiting = slot.request >= 0
        self._ended(slot)
        return CONNECTION if waiting else None

    def _ended(self, slot: _Slot) -> None:
        """Nothing is on its way, and what may come is for nobody."""
        slot.request = -1
        self._drop(slot)
        if self._refused:
            self._refused = deque(each for each in self._refused if each[1] is not slot)

    def _drop(self, slot: _Slot) -> None:
        sock, slot.sock, slot.unsent = slot.sock, None, None
        if sock is not None:
            del self._by_fd[sock.fileno()]
            sock.close()  # which takes it out of the epoll

    def _connect(self, slot: _Slot, message: bytes) -> None:
        """Begin to; the message follows when the connection is there."""
        self._drop(slot)
        family, address = self._where
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            self._refuse(slot)
            return
        code = sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
            sock.close()
            self._refuse(slot)
            return
        self._opened(slot, sock)
        slot.is_new = True
        self._send_later(slot, memoryview(message))

    def _opened(self, slot: _Slot, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        slot.sock = sock
        slot.reader = HttpReader()
        slot.is_new = slot.is_over = False
        self._by_fd[sock.fileno()] = slot
        self._epoll.register(sock.fileno(), _READ)

    def _send_later(self, slot: _Slot, rest: memoryview) -> None:
        assert slot.sock is not None
        slot.unsent = rest
        self._epoll.modify(slot.sock.fileno(), _READ | _WRITE)

    def _refuse(self, slot: _Slot) -> None:
        """There is no connection to be had: that is told after a pause."""
        self._drop(slot)
        self._refused.append((time.monotonic() + _PAUSE_SECONDS, slot))

    def _refusals(self) -> Iterator[tuple[int, str]]:
        now = time.monotonic()
        while self._refused and self._refused[0][0] <= now:
            _, slot = self._refused.popleft()
            slot.request = -1
            yield slot.number, CONNECTION


class _Slot:
    """`request`: the number of the one on its way, -1: none; `unsent`: what did not fit into the socket's buffer yet;
    `is_new`: nothing says yet that the connection will come about; `is_over`: it can't be used again.
    """

    __slots__ = ("is_new", "is_over", "number", "reader", "request", "sock", "unsent")

    reader: HttpReader

    def __init__(self, number: int) -> None:
        self.number = number
        self.sock: socket.socket | None = None
        self.request = -1
        self.unsent: memoryview | None = None
        self.is_new = False
        self.is_over = False


#: A family of sockets, and an address of it.
Where = tuple[int, Any]


def resolved(url: str) -> Where:
    """Raises ValueError for another form of URL, OSError where there is no such host."""
    address = HttpAddress.of(url)
    if address.secure:
        raise ValueError(f"{url!r}: the load harness speaks HTTP without TLS")
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    # Servers listen on 127.0.0.1 rather than ::1, which "localhost" may mean first.
    family, _, _, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, where


def connected(where: Where, seconds: float = CONNECT_SECONDS) -> socket.socket:
    """Raises OSError, with the address."""
    family, address = where
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address)
    except OSError as error:
        sock.close()
        code = error.errno or errno.ETIMEDOUT
        raise OSError(code, os.strerror(code), str(address)) from error
    return sock


def exchanged(url: str, message: bytes, seconds: float) -> HttpAnswer:
    """The answer to one request, alone; `seconds`: until more of it has to come. It may come before the request's end.

    Raises ValueError for a URL of another form, OSError, and BadAnswerError.
    """
    with connected(resolved(url)) as sock:
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT)
        reader = HttpReader()
        unsent = memoryview(message)
        while events := poll.poll(seconds * 1000):
            if unsent and events[0][1] & select.POLLOUT:
                unsent = _sent(sock, unsent)
                if not unsent:
                    poll.modify(sock, select.POLLIN)
            if not events[0][1] & ~select.POLLOUT:
                continue
            piece = sock.recv(_PIECE)
            answer = reader.feed(piece) if piece else reader.end()
            if answer is not None:
                return answer
            if not piece:
                raise ConnectionError("the server closed the connection before it had answered")
        raise TimeoutError(f"no answer in {seconds:g} s")


def _sent(sock: socket.socket, unsent: memoryview) -> memoryview:
    """What is left; nothing where the server reads no more: its answer says why."""
    try:
        return unsent[sock.send(unsent) :]
    except BlockingIOError:
        return unsent
    except OSError:
        return unsent[:0]
