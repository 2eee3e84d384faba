"""A server of a test's own behind a ROUTER socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq


@contextmanager
def router(endpoint: str, answers: Callable[[int, bytes], list[bytes]]) -> Iterator[None]:
    """A server that is told the number of each message, from 0 on."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.bind(endpoint)
    stopping = threading.Event()

    def serve() -> None:
        number = 0
        while not stopping.is_set():
            if socket.poll(20):
                identity, message = socket.recv_multipart()
                for each in answers(number, message):
                    socket.send_multipart([identity, each])
                number += 1

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        socket.close(0)
        context.term()
