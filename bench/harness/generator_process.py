"""A process of the load generator, as whoever started it sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from queue import Queue
from typing import Any, Final

from bench.harness.request_set import RequestSet
from bench.harness.share import Share

_LAST_WORDS: Final = 1000  # characters


#: Which generator says what; None: it has ended.
Words = tuple[int, dict[str, Any] | None]


class GeneratorProcess:
    """Runs from its making until `kill`. A group of its own: a Ctrl-C is for the process that collects the results."""

    def __init__(self, requests: RequestSet, share: Share, words: Queue[Words]) -> None:
        """Whatever it says is put into `words`."""
        self.index = share.index
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `kill`
        command = [sys.executable, "-m", "bench.harness.generator"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, text=True, process_group=0
        )
        self._reader = threading.Thread(target=self._read, args=(words,), daemon=True)
        self._reader.start()
        self._tell(json.dumps({"requests": requests.to_wire(), "share": share.to_wire()}))

    def go(self, began: int) -> None:
        """At this time of the monotonic clock, in nanoseconds."""
        self._tell(f"go {began}")

    def stop(self) -> None:
        """It tells what it has, and ends. May be called again."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def kill(self) -> None:
        """Does no harm to one that has ended."""
        self._process.kill()
        self._process.wait()
        self.stop()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._complaints.close()

    def last_words(self) -> str:
        """How it ended, and what it printed about that."""
        self._complaints.seek(0)
        printed = self._complaints.read().decode(errors="replace").strip()[-_LAST_WORDS:]
        code = self._process.wait()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return f"{how}: {printed}" if printed else how

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which is told where its words are read
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _read(self, words: Queue[Words]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words.put((self.index, json.loads(line)))
        words.put((self.index, None))
