"""A connection on which anything can be sent, HTTP or not."""

from __future__ import annotations

import http.client
import select
import socket
from types import TracebackType
from typing import Self

from end_to_end.http_answer import LIMIT, Answer, answer_of


class RawConnection:
    """Closed on leaving `with`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def say_no_more(self) -> None:
        """Close this side only: the server hears the end, and may still answer."""
        self._socket.shutdown(socket.SHUT_WR)

    def send_until_refused(self, piece: bytes, most: int) -> int:
        """Send `piece` again and again until something comes back or the connection breaks; how many bytes went."""
        sent = 0
        while sent < most and not select.select([self._socket], [], [], 0)[0]:
            try:
                self._socket.sendall(piece)
            except ConnectionError:
                break
            sent += len(piece)
        return sent

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        received = b""
        while len(received) < count and (piece := self._socket.recv(count - len(received))):
            received += piece
        return received

    def answer(self, method: str = "POST") -> Answer:
        """The next answer on the connection. One at a time: what is read ahead is lost."""
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            return answer_of(response)
        finally:
            response.close()

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        received = b""
        while piece := self._socket.recv(1 << 16):
            received += piece
        return received


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A POST request as it goes over the wire; `length` where the header is to lie."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(path: str, *chunks: bytes, end: bool = True) -> bytes:
    """A POST request whose body comes in chunks."""
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + pieces + (b"0\r\n\r\n" if end else b"")
