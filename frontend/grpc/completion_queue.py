"""grpcio's completion queue: a thread of its own takes the events and hands them to the event loop, many at a time.

grpcio's own servers cost more than all the rest of a request: with canned answers the thread pool's reached 5.8 k calls/s
and `grpc.aio`'s 4.7 k, where this reaches 16 k (two cores, 32 at a time, a client in C++). They hand each call from thread
to thread several times, or make coroutines of each of its steps. What they are built on is used here instead: it is not
documented, but the same for years. This module alone knows it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc._cython import cygrpc

from frontend.grpc.turns import TurnLoop
from ringserve.errors import Code, ServingError

#: Called in the queue's thread, with an event; it is to be quick.
Tag = Callable[[Any], None]

_ACCEPTING: Final = 16  # calls that may begin before the thread has seen the first of them
_NO_FLAGS: Final = 0
_logger = logging.getLogger(__name__)
# It would log the metadata of every call whose metadata are no UTF-8, with a traceback.
logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL + 1)


class CompletionQueue:
    """One server's. Calls that begin are handed to `arrived` in the queue's thread; all else is for the loop's."""

    def __init__(self, arguments: Iterable[tuple[str, int | str]], arrived: Tag) -> None:
        """`arguments`: gRPC's channel arguments."""
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(arguments), False)
        self._server.register_completion_queue(self._queue)
        self._arrived = arrived
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurnLoop)
        self._loop = loop
        self._stopped = asyncio.Event()
        self._ended = False  # nothing more comes out of the queue
        self._inbox: deque[Callable[[], None]] = deque()
        self._notified = False  # is the loop going to look into the inbox?
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> None:
        """Before `start`. `address`: host:port or unix:path. Raises ServingError (UNAVAILABLE) when it can't be had."""
        chosen = () if credentials is None else (credentials._credentials,)
        if not self._server.add_http2_port(address.encode(), *chosen):
            raise ServingError(Code.UNAVAILABLE, f"Failed to BuildAndStart gRPC server: can't listen on {address}")

    def start(self) -> None:
        """Accept connections."""
        self._loop.add_reader(self._wake, self._empty_inbox)
        self._server.start()
        threading.Thread(target=self._poll, name="gRPC events", daemon=True).start()

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, and return when all calls have ended; those that last longer than `seconds` are cancelled."""
        self._server.shutdown(self._queue, self._shut_down)
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            self._server.cancel_all_calls()
            await self._stopped.wait()
        self._server.destroy()

    def do_now(self, to_do: Callable[[], None]) -> None:
        """Have this called at once if the loop sleeps, or else as `hand_over` does. Called in the queue's thread."""
        if self._inbox or not self._loop.try_now(to_do):
            self.hand_over(to_do)

    def hand_over(self, to_do: Callable[[], None]) -> None:
        """Have this called in the loop's thread. Called in the queue's."""
        self._inbox.append(to_do)
        if not self._notified:
            self._notified = True
            os.eventfd_write(self._wake, 1)

    def _empty_inbox(self) -> None:
        os.eventfd_read(self._wake)
        self._notified = False  # before it is emptied: what is put in after that notifies again
        inbox = self._inbox
        for _ in range(len(inbox)):  # and no more: workers and doorbells have their turn too
            try:
                inbox.popleft()()
            except Exception:
                _logger.exception("a call failed in a way it never should")
        if inbox and not self._notified:
            self._notified = True
            os.eventfd_write(self._wake, 1)

    def _poll(self) -> None:
        self._loop.adopt()
        for _ in range(_ACCEPTING):
            self._accept()
        while not self._ended:
            try:
                self._take_event()
            except Exception:  # there may have been no memory for its message: its call ends with its deadline
                _logger.exception("an event failed in a way it never should")
            except BaseException:
                _logger.critical("no event is taken any more: a new process is needed", exc_info=True)
                os._exit(1)

    def _take_event(self) -> None:
        """Its event is forgotten on return: the last to know of a call must not be there while the queue is polled."""
        event = self._queue.poll()
        tag = event.tag
        if tag is not None:
            tag(event)

    def _accept(self) -> None:
        """One more call."""
        with suppress(ValueError):  # the server has begun to stop meanwhile
            self._server.request_call(self._queue, self._queue, self._begun)

    def _begun(self, event: Any) -> None:
        if event.success:  # otherwise the server stops
            try:
                self._arrived(event)
            except BaseException:
                event.call.cancel()  # nobody else would end it
                raise
            finally:
                self._accept()

    def _shut_down(self, _: Any) -> None:
        """All calls have ended."""
        self._ended = True
        self.hand_over(self._stopped.set)


def receive_message(call: Any, tag: Tag) -> None:
    """Ask for the client's next message."""
    call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), tag)


def received_message(event: Any) -> bytes | None:
    """None: there is none."""
    message: bytes | None = event.batch_operations[0].message()
    return message


def receive_close(call: Any, tag: Tag) -> None:
    """Ask to be told of the call's end."""
    call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), tag)


def was_cancelled(event: Any) -> bool:
    """Did the call end before its status was sent?"""
    cancelled: bool = event.batch_operations[0].cancelled()
    return cancelled


def send_answer(call: Any, message: bytes) -> None:
    """All of a successful call with one answer."""
    operations = (
        cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
        cygrpc.SendMessageOperation(message, _NO_FLAGS),
        cygrpc.SendStatusFromServerOperation(None, cygrpc.StatusCode.ok, b"", _NO_FLAGS),
    )
    call.start_server_batch(operations, None)


def send_message(call: Any, message: bytes, first: bool, tag: Tag) -> None:
    """One of several answers."""
    operation = cygrpc.SendMessageOperation(message, _NO_FLAGS)
    operations = (cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS), operation) if first else (operation,)
    call.start_server_batch(operations, tag)


def send_status(call: Any, code: Code, details: bytes, first: bool) -> None:
    """The end of a call; `first`: nothing was sent before."""
    operation = cygrpc.SendStatusFromServerOperation(None, int(code), details, _NO_FLAGS)
    operations = (cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS), operation) if first else (operation,)
    call.start_server_batch(operations, None)


def reject(call: Any, code: Code, details: bytes) -> None:
    """End a call that has just begun; `receive_close` is not called for it."""
    operations = (
        cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
        cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),
        cygrpc.SendStatusFromServerOperation(None, int(code), details, _NO_FLAGS),
    )
    call.start_server_batch(operations, None)
