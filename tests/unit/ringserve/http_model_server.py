"""An HTTP server that answers as a test says, on connections that it keeps."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from frontend.bodies.tensor_message import NamedOutput, answer_parts, read_request
from frontend.tensors import Tensor
from ringserve.servable import ServableId
from ringserve.signature import Signature

MSGPACK = "application/x-msgpack"
JSON = "application/json"
MOST_BYTES = 1 << 28


class Asked(NamedTuple):
    verb: str
    path: str
    headers: Message
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    body: bytes
    status: int = 200
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(document: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(document).encode(), status)


class HttpModelServer(ThreadingHTTPServer):
    """`answer` is called for every request, in its connection's thread; None: the connection is closed without one."""

    daemon_threads = True
    request_queue_size = 128  # connections that come at once, where the default of 5 has some of them reset

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[Asked], Answer | None] = lambda asked: json_answer({"error": "nothing here"}, 404)
        self.asked: list[Asked] = []
        self.connections: list[socket.socket] = []
        self.port: int = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpModelServer

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, self.headers, body)
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in (("Content-Type", answer.kind), ("Content-Length", str(len(answer.body))), *answer.headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def http_model_server(context: ssl.SSLContext | None = None) -> Iterator[HttpModelServer]:
    with HttpModelServer() as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.url = f"https://127.0.0.1:{server.port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def message_answer(asked: Asked, signature: Signature, outputs: Mapping[str, Tensor]) -> Answer:
    """As ringserve's server answers."""
    identifier = read_request(asked.body, MOST_BYTES).identifier
    named = [NamedOutput(alias, tensor) for alias, tensor in outputs.items()]
    return Answer(b"".join(answer_parts(identifier, ServableId("m", 3), signature, named)), 200, MSGPACK)
