"""A ZeroMQ front end: its loop, its sockets, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Final

import zmq

from frontend.front_end import FrontEnd
from frontend.garbage import collect_rarely
from frontend.request_counters import RequestCounters
from frontend.zmq.curve import Curve
from frontend.zmq.dispatcher import Dispatcher
from frontend.zmq.poll_selector import PollLoop, PollSelector
from frontend.zmq.router import Router
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from shm.counters import CounterTable
from shm.doorbell import Doorbell

_DRAIN_SECONDS: Final = 25.0  # for requests that have begun; less than the supervisor waits
_LINGER_SECONDS: Final = 2.0  # for their answers to go out
_AGAIN_SECONDS: Final = 0.02  # how often answers are offered again that a client did not take

_logger = logging.getLogger(__name__)


def run(
    control: socket.socket, doorbell: Doorbell, counters: CounterTable, listeners: Sequence[int], options: ServerOptions
) -> None:
    """Until the supervisor says stop. `listeners`: descriptors of sockets that are bound and listen."""
    selector = PollSelector()
    with asyncio.Runner(loop_factory=lambda: PollLoop(selector)) as runner:
        runner.run(_serve(selector, control, doorbell, counters, listeners, options))


async def _serve(
    selector: PollSelector,
    control: socket.socket,
    doorbell: Doorbell,
    counters: CounterTable,
    listeners: Sequence[int],
    options: ServerOptions,
) -> None:
    front_end = FrontEnd(control, doorbell, RequestCounters(counters))
    asyncio.get_running_loop().remove_reader(doorbell.fd)
    selector.watch(doorbell.fd, front_end.collect)
    if not await front_end.may_open():
        return
    server = ZmqServer(front_end, selector, options)
    try:
        server.listen(listeners)
    except zmq.ZMQError as error:
        front_end.listening(ServingError(Code.UNAVAILABLE, f"Can't listen for ZeroMQ: {error}"))
        await front_end.stopping.wait()
        return
    front_end.listening()
    collect_rarely()
    await front_end.stopping.wait()
    await server.stop()


class ZmqServer:
    """One in each front end. All in one thread."""

    def __init__(self, front_end: FrontEnd, selector: PollSelector, options: ServerOptions) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = Router(self._context, options.max_request_bytes)
        self._dispatcher = Dispatcher(front_end, self._router, options)
        self._selector = selector
        self._curve = Curve.of(options)
        self._again: asyncio.TimerHandle | None = None
        self._router.on_kept = self._wait

    def listen(self, listeners: Sequence[int]) -> None:
        """Accept connections. Raises zmq.ZMQError."""
        if self._curve is not None:
            self._curve.secure(self._context, self._router.socket)
        for descriptor in listeners:
            self._router.listen(_endpoint(descriptor), descriptor)
        self._selector.watch(self._router.socket, self._receive)

    def _receive(self) -> None:
        """Requests have come."""
        self._dispatcher.take_burst(*self._router.receive(self._dispatcher.take))
        self._dispatcher.flush()

    def _wait(self) -> None:
        """There are answers that a client does not take now."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._send_again)

    def _send_again(self) -> None:
        self._again = None
        self._router.send_again()
        if self._router.has_unsent:
            self._wait()

    async def stop(self) -> None:
        """Answer what has begun; what still comes is refused.

        Connections are accepted meanwhile: where ZeroMQ gives a listener up, it closes the connections made there too.
        """
        dispatcher = self._dispatcher
        dispatcher.stopping = True
        answered = asyncio.Event()
        count = dispatcher.count
        count.none_left = answered.set
        if count.outstanding:
            try:
                await asyncio.wait_for(answered.wait(), _DRAIN_SECONDS)
            except TimeoutError:
                _logger.warning("%d requests have no answer", count.outstanding)
        await asyncio.sleep(0)  # answers of one message go out together at the end of a turn
        self._router.send_again()
        self._selector.ignore(self._router.socket)
        self._router.close(_LINGER_SECONDS)
        if self._curve is not None:
            self._curve.stop()  # its socket would keep the context
        self._context.term()


def _endpoint(descriptor: int) -> str:
    """Of a listening socket, as ZeroMQ writes it."""
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        name = listener.getsockname()
        if listener.family == socket.AF_UNIX:
            return f"ipc://{name}"
        host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
        return f"tcp://{host}:{name[1]}"
