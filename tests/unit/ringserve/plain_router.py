"""A ZeroMQ server of a few lines, which answers as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

Request = dict[str, Any]
#: Given a request and the message's frames: an answer, several, raw bytes, or None for silence.
Reply = Callable[[Request, Sequence[bytes]], Any]

SOURCE = {"model": "half", "version": 3, "signature": "serving_default"}


def echo(request: Request, frames: Sequence[bytes]) -> Any:
    """Outputs that are the inputs."""
    answer = {"v": 1, "id": request["id"], **SOURCE, "outputs": request["inputs"]}
    return [msgpack.packb(answer), *frames]


class PlainRouter:
    """`endpoint`: as ZeroMQ names it. `received`: first parts, unpacked. `reply`: asked for each request."""

    def __init__(
        self,
        endpoint: str,
        reply: Reply = echo,
        setup: Callable[[zmq.Socket[bytes]], None] = lambda socket: None,
        is_reading: bool = True,
    ) -> None:
        self.reply = reply
        self.received: list[Any] = []
        self.connections = 0
        self.is_reading = is_reading
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self.context.socket(zmq.ROUTER)
        self._socket.linger = self._socket.sndhwm = 0
        self._socket.ipv6 = True
        setup(self._socket)
        self._socket.bind(endpoint)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._is_over = False
        self._thread = threading.Thread(target=self._serve)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    def _serve(self) -> None:
        while not self._is_over:
            sockets = [(self._monitor, zmq.POLLIN), *([(self._socket, zmq.POLLIN)] if self.is_reading else [])]
            ready = dict(zmq.zmq_poll(sockets, 10))
            if self._monitor in ready:
                recv_monitor_message(self._monitor)
                self.connections += 1
            if self._socket in ready:
                self._answer(*self._socket.recv_multipart())
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self.context.term()

    def _answer(self, identity: bytes, header: bytes, *frames: bytes) -> None:
        message = msgpack.unpackb(header)
        self.received.append(message)
        for request in message if isinstance(message, list) else [message]:
            reply = self.reply(request, frames)
            for parts in reply if isinstance(reply, Several) else [reply]:
                if parts is not None:
                    self._socket.send_multipart([identity, *(parts if isinstance(parts, list) else [packed(parts)])])


class Several(list[Any]):
    """Replies, one after the other."""


def packed(reply: Any) -> bytes:
    return reply if isinstance(reply, bytes) else bytes(msgpack.packb(reply))


@contextmanager
def routed(endpoint: str = "tcp://127.0.0.1:*", reply: Reply = echo, **named: Any) -> Iterator[PlainRouter]:
    router = PlainRouter(endpoint, reply, **named)
    router.start()
    try:
        yield router
    finally:
        router.stop()
