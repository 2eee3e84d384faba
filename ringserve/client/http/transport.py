"""Operations over HTTP: TensorFlow Serving's REST API, and its MessagePack bodies where the server is ringserve's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from ringserve.client import failures
from ringserve.client.call_future import call_started
from ringserve.client.deadline import Deadline
from ringserve.client.each import start_each
from ringserve.client.http.address import HttpAddress
from ringserve.client.http.connections import HttpConnections
from ringserve.client.http.conversation import HttpConversation
from ringserve.client.http.exchange import HttpAnswer, HttpCall, HttpQuestion
from ringserve.client.http.threads import HttpThreads, Work
from ringserve.client.http.tls import tls_context
from ringserve.client.operations import Operation, PredictEach
from ringserve.client.per_process import PerProcess
from ringserve.client.tls import Tls
from ringserve.errors import ServingError

T = TypeVar("T")


class HttpTransport:
    """As many connections as there are calls at a time; those that are not used meanwhile are kept for the next ones.

    `call` uses the caller's thread; calls that are started get one of a few.
    """

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        """Raises ValueError for what is no URL of a server, for `tls` without https:// and where it holds no certificates;
        OSError where a file of it can't be read.
        """
        address = HttpAddress.of(url)
        if tls is not None and not address.secure:
            raise ValueError("tls needs an address that begins with https://")
        context = tls_context(tls or Tls()) if address.secure else None
        name = "" if tls is None else tls.server_name
        self._processes = PerProcess(lambda: _InProcess(HttpConnections(address, context, name)), _InProcess.close)
        self._closed = False

    def call(self, operation: Operation[T], timeout: float | None) -> T:
        if isinstance(operation, PredictEach):
            return cast(T, call_started(self, operation, timeout))
        return cast(T, self._process().conversation.answer(operation, Deadline(timeout), HttpCall()))

    def start(
        self, operation: Operation[T], timeout: float | None, done: Callable[[T | ServingError], None]
    ) -> Callable[[], object]:
        if isinstance(operation, PredictEach):
            return start_each(self, operation, timeout, cast(Callable[[Any], None], done))
        process, deadline, call = self._process(), Deadline(timeout), HttpCall()
        return process.start(lambda: process.conversation.answer(operation, deadline, call), deadline, call, done)

    def ask(self, question: HttpQuestion, timeout: float | None) -> HttpAnswer:
        """A question that is no operation, and the answer whatever it is. Raises ServingError where there is none."""
        return self._process().conversation.ask(question, Deadline(timeout), HttpCall())

    def close(self) -> None:
        self._closed = True
        made = self._processes.made()
        if made is not None:
            made.close()

    def _process(self) -> _InProcess:
        if self._closed:
            raise failures.closed()
        process = self._processes.get()
        if self._closed:  # meanwhile, so that `close` may not have seen this one
            process.close()
            raise failures.closed()
        return process


class _InProcess:
    """What every process has of its own."""

    def __init__(self, connections: HttpConnections) -> None:
        self.conversation = HttpConversation(connections)
        self._connections = connections
        self._threads = HttpThreads()

    def start(
        self, ask: Callable[[], Any], deadline: Deadline, call: HttpCall, done: Callable[[Any], None]
    ) -> Callable[[], object]:
        """`done` gets what `ask` returns or raises."""
        work = Work(lambda: done(_outcome(ask, call)), done, deadline)
        self._threads.add(work)

        def cancel() -> None:
            call.cancel()
            self._threads.drop(work)

        return cancel

    def close(self) -> None:
        self._connections.close()
        self._threads.close()


def _outcome(ask: Callable[[], Any], call: HttpCall) -> Any:
    try:
        return failures.cancelled() if call.is_cancelled else ask()
    except ServingError as error:
        return error
    except Exception as error:  # whatever it is, somebody waits
        return failures.unforeseen(error)
