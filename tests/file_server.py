"""A real HTTP server of a folder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(SimpleHTTPRequestHandler):
    before: Callable[[str, str], None] = staticmethod(lambda method, path: None)

    def do_GET(self) -> None:
        type(self).before("GET", self.path)
        with contextlib.suppress(ConnectionError):  # a download that was given up
            super().do_GET()

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@contextlib.contextmanager
def serving(folder: Path, before: Callable[[str, str], None] = lambda method, path: None) -> Iterator[str]:
    """The server's address, without a slash at the end. `before` is called with each GET's method and path."""
    handler = type("Handler", (_Handler,), {"before": staticmethod(before)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
