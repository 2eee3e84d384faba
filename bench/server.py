"""Servers under test: started on a port of their own, asked, stopped, and their words kept for when that fails."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self

from bench.load import WrongAnswerError

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.002


def free_port() -> int:
    """A port that nobody listens on at present."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Asked(Protocol):
    """What a server is asked, to know that it is there and right: a bench.load.Target, or the same over gRPC."""

    def ask(self, count: int) -> bytes:
        """Send some requests, one after the other: the last answer.

        Raises WrongAnswerError, OSError and HTTPException; of these, ConnectionError while nobody listens.
        """
        ...


class Server:
    """A server process; starts with the `with` block and is gone after it."""

    def __init__(
        self, command: Sequence[str], target: Asked, start_seconds: float = _START_SECONDS, own_group: bool = False
    ) -> None:
        """`start_seconds`: how long the first answer is waited for.

        `own_group`: its children may outlive it; they are killed as the group of processes that they form with it.
        """
        self._command = command
        self._target = target
        self._start_seconds = start_seconds
        self._group = 0 if own_group else None

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, process_group=self._group
        )
        self.pid = self._process.pid
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill()
            self._process.wait()
            self._log.close()

    def _kill(self) -> None:
        """Does nothing to what has ended."""
        if self._group is None:
            self._process.kill()
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def until_answered(self) -> float:
        """Wait for the first right answer: seconds since the start. Raises RuntimeError when none comes."""
        while time.monotonic() - self.began < self._start_seconds and self._process.poll() is None:
            try:
                self._ask(1)
                return time.monotonic() - self.began
            except ConnectionError:
                time.sleep(_POLL_SECONDS)
        raise RuntimeError(f"{self._name} gave no answer; {self._last_words()}")

    def check(self, count: int) -> bytes:
        """Send some requests, one after the other: the last one's body.

        Raises RuntimeError for a wrong answer, and when there is none.
        """
        try:
            return self._ask(count)
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeError(f"{self._name}: {error}; {self._last_words()}") from error

    def _ask(self, count: int) -> bytes:
        try:
            return self._target.ask(count)
        except WrongAnswerError as error:
            raise RuntimeError(f"{self._name} {error}; {self._last_words()}") from error

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")  # its own writes go on where they were

    @property
    def _name(self) -> str:
        return " ".join(self._command[:4])

    def _last_words(self) -> str:
        """How it ended, if it has, and the end of what it printed."""
        code = self._process.poll()
        words = self.log[-2000:].strip()
        return f"{'it runs' if code is None else f'it ended with {code}'}, its last words: {words or 'none'}"
