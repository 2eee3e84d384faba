"""One row of a model, asked for over ZeroMQ: what shows that a server is there, whatever its model."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Final

import zmq

from bench.asked_rows import AskedRows
from bench.load import WrongAnswerError
from bench.row_client import RowClient

_ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class RowTarget:
    """As `bench.load.Target`; nobody listens where no answer comes."""

    endpoint: str
    rows: AskedRows

    def ask(self, count: int) -> bytes:
        """Send some requests, one after the other; it keeps no answer.

        Raises WrongAnswerError, and ConnectionError where there is none.
        """
        for _ in range(count):
            try:
                with closing(RowClient(self.endpoint, self.rows, _ANSWER_SECONDS)):
                    continue
            except zmq.Again as error:
                raise ConnectionError(f"no answer from {self.endpoint}") from error
            except ValueError as error:
                raise WrongAnswerError(str(error)) from error
        return b""
