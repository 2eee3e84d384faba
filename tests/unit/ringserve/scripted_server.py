"""A UNIX socket that answers each connection as a test says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ScriptedServer:
    """Answers every request with `answer`, a JSON value or bytes as they are; keeps what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.answer: Any = {"result": {}}
        self.asked: list[dict[str, Any]] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)

    def serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(10)
                line = connection.makefile("rb").readline()
                if line == b"stop":
                    return
                if line:  # a look whether anybody is here sends nothing
                    self.asked.append(json.loads(line))
                    answer = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode() + b"\n"
                    connection.sendall(answer)

    def stop(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            sock.sendall(b"stop")


@contextmanager
def scripted(path: Path) -> Iterator[ScriptedServer]:
    server = ScriptedServer(path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
        server.listener.close()
        path.unlink()
