"""One local client: what it asks on its control connection, and the lanes that it has."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final

from frontend.local.client_lane import ClientLane
from frontend.local.control_socket import ControlSocket
from frontend.local.lane_desk import LaneDesk, OpenedLane
from frontend.model_facts import answer
from ringserve import __version__
from ringserve.channel import Message
from ringserve.errors import Code, ServingError

_logger = logging.getLogger(__name__)

_VERSION: Final = 1  # of the messages
_HELLO_SECONDS: Final = 10.0
_GIVE_UP_SECONDS: Final = 5.0  # for the requests in a lane to be answered
_MOST_LANES: Final = 64  # those that are being opened too


class LocalClient:
    """Used on the event loop."""

    def __init__(self, control: Any, desk: LaneDesk, ended: Callable[[LocalClient], None]) -> None:
        """`control`: the connection, a socket; `ended` is called once, when the client has nothing any more."""
        self._desk = desk
        self._tell_ended = ended
        self._lanes: dict[int, ClientLane] = {}
        self._to_open: deque[Message] = deque()  # the first is being opened
        self._opening: asyncio.Task[None] | None = None
        self._has_ended = False
        self._greeted = False
        self._handlers: dict[str, Callable[[int, Message], None]] = {"open": self._on_open, "ask": self._on_ask}
        loop = asyncio.get_running_loop()
        self._hello_limit = loop.call_later(_HELLO_SECONDS, self.close)
        self._control = ControlSocket(control, self._on_message, self._on_end)

    def close(self) -> None:
        self._control.close()

    def refuse(self, error: ServingError) -> None:
        """Say why there is no server for it, and close."""
        self._control.send({"type": "error", "code": int(error.code), "error": error.message})
        self._control.close()

    def _on_end(self) -> None:
        """The connection is closed: everything of the client goes."""
        self._has_ended = True
        self._hello_limit.cancel()
        self._to_open.clear()
        for lane in list(self._lanes.values()):
            self._drop(lane)
        self._tell_ended(self)

    def _on_message(self, message: Message) -> None:
        try:
            self._handle(message)
        except Exception as error:
            _logger.exception("a local client's message failed in a way it never should")
            self.refuse(_internal(error))

    def _handle(self, message: Message) -> None:
        kind, call = message.get("type"), message.get("call")
        if not self._greeted:
            self._greet(message)
        elif kind == "close":
            self._on_close(message)
        elif isinstance(kind, str) and kind in self._handlers and type(call) is int:
            self._handlers[kind](call, message)
        else:
            self.refuse(ServingError(Code.INVALID_ARGUMENT, "expected a message of type open, close or ask, with a call"))

    def _greet(self, message: Message) -> None:
        if message.get("type") != "hello":
            self.refuse(ServingError(Code.INVALID_ARGUMENT, "expected a message of type hello"))
        elif message.get("v") != _VERSION:
            text = f"This server, ringserve {__version__}, speaks version {_VERSION} of local clients' messages"
            self.refuse(ServingError(Code.UNIMPLEMENTED, text))
        else:
            self._greeted = True
            self._hello_limit.cancel()
            self._control.send({"type": "welcome", "v": _VERSION, "server": f"ringserve {__version__}"})

    def _fail(self, call: int, error: ServingError) -> None:
        self._control.send({"type": "error", "call": call, "code": int(error.code), "error": error.message})

    def _on_ask(self, call: int, message: Message) -> None:
        question = message.get("question")
        try:
            if not isinstance(question, dict):
                raise ServingError(Code.INVALID_ARGUMENT, "expected a question, a map")
            facts = answer(self._desk.catalog, question, self._desk.stopping)
        except ServingError as error:
            self._fail(call, error)
            return
        identifier = question.get("id")
        known = isinstance(identifier, int | float | str | bytes)
        told = {"v": _VERSION, "id": identifier if known else None, **facts}
        self._control.send({"type": "told", "call": call, "answer": told})

    def _on_close(self, message: Message) -> None:
        number = message.get("lane")
        lane = self._lanes.get(number) if type(number) is int else None
        if lane is not None:  # else it went while the client said so
            self._drop(lane)

    def _on_open(self, call: int, message: Message) -> None:
        if len(self._lanes) + len(self._to_open) >= _MOST_LANES:
            self._fail(call, ServingError(Code.RESOURCE_EXHAUSTED, f"A client may have {_MOST_LANES} lanes"))
            return
        self._to_open.append(message)
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open_all())

    async def _open_all(self) -> None:
        """One at a time: a client that opens many must not keep the supervisor from the others."""
        while self._to_open:
            message = self._to_open[0]
            call: int = message["call"]
            try:
                self._add(call, await self._desk.open(message))
            except ServingError as error:
                self._fail(call, error)
            except Exception as error:
                _logger.exception("a local client's lane could not be opened, for no reason that is known")
                self._fail(call, _internal(error))
            if self._to_open:
                self._to_open.popleft()
        self._opening = None

    def _add(self, call: int, opened: OpenedLane) -> None:
        lane = opened.lane
        if self._has_ended:
            for fd in opened.fds:
                os.close(fd)
            self._desk.drop(lane)
            return
        self._lanes[lane.number] = lane
        self._control.send({"type": "lane", "call": call, **opened.terms}, opened.fds)
        self.look((lane.wanted.name,))  # things may have changed meanwhile

    def look(self, names: Collection[str]) -> None:
        """Something has changed of these models: lanes that lead to another version than was asked for are given up."""
        for lane in list(self._lanes.values()):
            if lane.wanted.name in names and not self._has_ended:
                if not self._desk.has_worker(lane):
                    self._drop(lane)  # the worker ended: the client has heard that from the lane itself
                elif lane.limit is None and not lane.is_meant(self._desk.catalog):
                    self._retire(lane)

    def retire_all(self) -> None:
        """The server stops: what was submitted is answered, and nothing more is to come."""
        for lane in list(self._lanes.values()):
            if lane.limit is None:
                self._retire(lane)

    def _retire(self, lane: ClientLane) -> None:
        lane.give_up(_GIVE_UP_SECONDS, lambda: self._drop(lane))
        self._control.send({"type": "retire", "lane": lane.number})

    def _drop(self, lane: ClientLane) -> None:
        if self._lanes.pop(lane.number, None) is not None:
            self._desk.drop(lane)

    @property
    def has_lanes(self) -> bool:
        return bool(self._lanes or self._to_open)


def _internal(error: Exception) -> ServingError:
    return ServingError(Code.INTERNAL, f"The server failed: {type(error).__name__}")
