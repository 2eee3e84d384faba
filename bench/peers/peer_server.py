"""A peer's server: started with a model, asked, restarted, stopped."""

from __future__ import annotations

import socket
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from bench.harness.target import PreparationError
from bench.load import WrongAnswerError
from bench.peers.peer import Peer, Place
from bench.peers.peer_model import PeerModel
from bench.server import Server, free_port
from bench.server_processes import kill_left, processes_of
from bench.version_folders import VersionFolders

_START_SECONDS: Final = 90.0
_ANSWER_SECONDS: Final = 5.0  # for an answer while it starts
_PORTS: Final = 3  # in a row: of HTTP, and of what it has besides


class PeerServer:
    """Starts with the `with` block and is gone after it, with all of its processes."""

    def __init__(self, peer: Peer, model: PeerModel, python: Path) -> None:
        self._peer = peer
        self._model = model
        self._python = python

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True)))
            self.place = Place(self._model, self._python, _free_ports(), folder)
            self._folders = VersionFolders(self.place.base, self._model.version())
            self._version = 0
            self._publish()
            self._stack = stack.pop_all()
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            self._stop(kind, error, trace)

    @property
    def pid(self) -> int:
        return self._server.pid

    def until_answered(self) -> float:
        """Seconds from its start to its first right answer. Raises RuntimeError when none comes."""
        return self._server.until_answered()

    def switch(self) -> None:
        """A further version of the model is there, and served when this returns. Raises RuntimeError and OSError."""
        self._publish()
        if self._peer.switch is None:
            self._stop(None, None, None)
            self._start()
            self.until_answered()
        else:
            self._peer.switch(self.place, self.pid, self._version)

    def _publish(self) -> None:
        self._version += 1
        self._folders.publish(self._version)
        link = self.place.folder / ".current"
        link.symlink_to(self.place.base / str(self._version))
        link.replace(self.place.current)

    def _start(self) -> None:
        words = self._peer.command(self.place).words
        self._server = Server(words, _FirstAnswer(self._peer, self.place), _START_SECONDS, own_group=True)
        self._server.__enter__()

    def _stop(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        processes: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            processes = processes_of(self.pid)
        try:
            self._server.__exit__(kind, error, trace)
        finally:
            kill_left(processes)


class _FirstAnswer:
    """What `bench.server.Server` asks until it is right: servers that start refuse connections, or requests."""

    def __init__(self, peer: Peer, place: Place) -> None:
        self._form = peer.rows[0].form(place.model)
        self._place = place

    def ask(self, count: int) -> bytes:
        """Raises ConnectionError for whatever is not a right answer."""
        try:
            requests = self._form.requests(self._place.url, self._place.model, count, _ANSWER_SECONDS)
        except ConnectionError:
            raise
        except (WrongAnswerError, PreparationError, OSError) as error:
            time.sleep(0.01)  # it is there, and starting: it has better things to do than to refuse
            raise ConnectionError(str(error)) from error
        return requests.requests[-1].answer[0]


def _free_ports() -> int:
    """The first of a few ports in a row that nobody listens on at present."""
    while True:
        port = free_port()
        with ExitStack() as stack:
            try:
                for further in range(1, _PORTS):
                    sock = stack.enter_context(socket.socket())
                    sock.bind(("127.0.0.1", port + further))
            except (OSError, OverflowError):
                continue
            return port
