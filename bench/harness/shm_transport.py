"""Shared memory: a lane of the generator's own to a worker, where the server is on the same machine (docs/local.md)."""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from bench.harness.answers import TOLERANCE, Expected
from bench.harness.local_lane import LocalLane, Outputs, key_of
from bench.harness.payload import Inputs
from bench.harness.request_set import RequestSet
from bench.harness.short_wait import wait
from bench.harness.tensor_bytes import tensors_of
from bench.harness.transport import CONNECTION
from ringserve.channel import Channel, Message
from ringserve.client.answers import Array
from ringserve.client.shm.control import close_all, connected
from ringserve.client.socket_path import socket_path
from ringserve.client.tensor_message import damaged, error_of
from ringserve.client.tensors import array_of
from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE

_OPEN_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.05  # until a lane is asked for again, where there was none
_NO_OUTPUTS: Final = "The server's answer can't be read: it is no lane"


class ShmTransport:
    """A `Transport`. `about` of the requests: the `model`, its `version` or `label`, and `signature`.

    When a version is retired, requests go to the next one's lane; what the old one has is finished there.
    """

    def __init__(self, requests: RequestSet, slots: int) -> None:
        """Raises ValueError for a URL of another form, OSError where the server can't be reached or gives no lane."""
        self._path = socket_path(requests.url, "shm")
        self._about = requests.about
        self._inputs = [tensors_of(request.parts[0]) for request in requests.requests]
        tolerance = requests.about.get("tolerance", TOLERANCE)
        self._expected = [_expected(request.answer[0], tolerance) for request in requests.requests]
        self._epoll = select.epoll()
        self._control: _Control | None = None
        self._lane: LocalLane | None = None
        self._draining: list[LocalLane] = []
        self._waiting: dict[int, int] = {}  # requests by slots that wait for a lane
        self._lost: deque[int] = deque()  # slots to be told
        self._asks_again = 0.0  # when, in seconds of the monotonic clock
        self._is_asking = False
        try:
            self._connect()
            ends = time.monotonic() + _OPEN_SECONDS
            while self._lane is None:
                if time.monotonic() >= ends:
                    raise ServingError(Code.DEADLINE_EXCEEDED, f"The server gave no lane in {_OPEN_SECONDS:g} s")
                self._hear_control(max(ends - time.monotonic(), 0.01))
        except ServingError as error:
            self.close()
            raise OSError(errno.ECONNREFUSED, error.message, requests.url) from error

    def send(self, slot: int, request: int) -> None:
        if self._lane is None:
            self._waiting[slot] = request
            return
        self._lane.send(slot, request)

    def poll(self, seconds: float) -> Iterator[tuple[int, str]]:
        told = False
        for each in self._answers():
            told = True
            yield each
        if told:
            return
        if self._lane is None:
            self._reopen()
            seconds = min(seconds, max(self._asks_again - time.monotonic(), 0.001))
        for fd, _ in wait(self._epoll, 0 if self._lost else seconds):
            if self._control is not None and fd == self._control.fd:
                self._read_control()
                continue
            for lane in self._lanes():
                if lane.bell.fd == fd:
                    lane.hear()
        yield from self._answers()

    def abandon(self, slot: int) -> None:
        self._waiting.pop(slot, None)
        with suppress(ValueError):
            self._lost.remove(slot)
        for lane in self._lanes():
            lane.abandon(slot)

    def close(self) -> None:
        for lane in self._lanes():
            lane.close()
        if self._control is not None:
            self._control.close()
        self._epoll.close()

    def _lanes(self) -> list[LocalLane]:
        return [*self._draining, self._lane] if self._lane is not None else list(self._draining)

    def _answers(self) -> Iterator[tuple[int, str]]:
        for lane in self._lanes():
            yield from lane.answers(self._expected)
            lane.beat()
            is_drained = lane is not self._lane and not lane.slots
            if lane.is_over or is_drained:  # all that it has answered was read
                self._drop(lane)
        while self._lost:
            yield self._lost.popleft(), CONNECTION

    def _drop(self, lane: LocalLane) -> None:
        """It is of no more use."""
        self._lost += lane.slots
        self._epoll.unregister(lane.bell.fd)
        lane.close()
        if self._control is not None:
            self._control.close_lane(lane.terms.number)
        if lane is self._lane:
            self._lane = None
            self._reopen()
        else:
            self._draining.remove(lane)

    def _reopen(self) -> None:
        """Ask for a lane, if that is not just being done; who waits for one while there is none is told."""
        if self._is_asking or time.monotonic() < self._asks_again:
            return
        self._asks_again = time.monotonic() + _PAUSE_SECONDS
        try:
            if self._control is None:
                self._connect()
            else:
                self._ask()
        except ServingError:
            self._fail()

    def _fail(self) -> None:
        """There is no lane to be had now."""
        self._lost += self._waiting
        self._waiting.clear()

    def _connect(self) -> None:
        """Raises ServingError."""
        self._control = _Control(self._path)
        self._epoll.register(self._control.fd, select.EPOLLIN)
        self._ask()

    def _ask(self) -> None:
        """For a lane with columns for the first request's rows. Raises ServingError."""
        assert self._control is not None
        which: dict[str, Any] = {name: self._about[name] for name in ("model", "version", "label") if name in self._about}
        signature = self._about.get("signature") or DEFAULT_SIGNATURE
        self._is_asking = True
        message = {"type": "open", "call": 1, "signature": signature, "inputs": _form(self._inputs[0])}
        self._control.send({**message, **which})

    def _read_control(self) -> None:
        try:
            self._hear_control(0)
        except ServingError:
            self._fail()

    def _hear_control(self, seconds: float) -> None:
        """Raises ServingError where it is lost, or has no lane."""
        assert self._control is not None
        try:
            messages = self._control.receive(seconds)
        except ServingError:
            self._is_asking = False
            self._epoll.unregister(self._control.fd)
            self._control.close()
            self._control = None
            raise
        for message, descriptors in messages:
            self._on_message(message, descriptors)

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        """Raises ServingError where there is no lane."""
        kind = message.get("type")
        if kind == "retire" and self._lane is not None and message.get("lane") == self._lane.terms.number:
            self._draining.append(self._lane)
            self._lane = None
            self._asks_again = 0.0
            self._reopen()
        if kind == "lane" and len(descriptors) == 2:
            self._is_asking = False
            self._lane = LocalLane(message, descriptors, self._inputs)
            self._epoll.register(self._lane.bell.fd, select.EPOLLIN)
            waiting, self._waiting = self._waiting, {}
            for slot, request in waiting.items():
                self._lane.send(slot, request)
            return
        close_all(descriptors)
        if kind in ("error", "lane"):
            self._is_asking = False
            raise error_of(message) or ServingError(Code.INTERNAL, _NO_OUTPUTS)


class _Control:
    """The connection on which lanes are asked for. All raise ServingError where it is lost."""

    def __init__(self, path: str) -> None:
        self._socket = connected(path)
        self._channel = Channel(self._socket)
        self.fd = self._socket.fileno()
        self.send({"type": "hello", "v": 1, "pid": os.getpid()})

    def send(self, message: Message) -> None:
        try:
            self._channel.send(message)
        except OSError as error:
            raise ServingError(Code.UNAVAILABLE, str(error)) from error

    def close_lane(self, number: int) -> None:
        with suppress(ServingError):  # then the server drops it anyway
            self.send({"type": "close", "lane": number})

    def receive(self, seconds: float) -> list[tuple[Message, list[int]]]:
        try:
            messages = self._channel.receive(seconds)
        except (EOFError, OSError, ValueError) as error:
            raise ServingError(Code.UNAVAILABLE, f"the server's control socket: {error!r}") from error
        if not all(isinstance(message, dict) for message, _ in messages):
            raise damaged("a message is no map")
        return messages

    def close(self) -> None:
        self._socket.close()


def _form(inputs: Inputs) -> list[Any] | None:
    """As the server wants rows described; None: as the signature declares them, where these are no rows of columns."""
    columns = []
    counts = set()
    for alias in sorted(inputs):
        dtype, shape, _ = inputs[alias]
        if not shape or not dtype.numpy:
            return None
        counts.add(shape[0])
        columns.append([dtype.number, dtype.numpy, list(shape[1:])])
    return columns if len(counts) == 1 and min(counts) else None


def _expected(answer: bytes, tolerance: float) -> Outputs:
    outputs: dict[str, Array] = {
        alias: array_of(dtype, shape, values) for alias, (dtype, shape, values) in tensors_of(answer).items()
    }
    return Expected(outputs, key_of(outputs), dict, tolerance)
