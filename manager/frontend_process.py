"""The supervisor's view of a front end: what it is told, and what it asks for."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from manager.child_process import ChildProcess
from manager.listener import share_with_the_past
from ringserve.channel import Message
from ringserve.options import ServerOptions
from ringserve.ssl_config import SslConfig

_logger = logging.getLogger(__name__)


class Joiner(Protocol):
    """Joins front ends to workers: `manager.serving.Serving`."""

    def introduce(self, frontend: FrontEndProcess) -> None:
        """Tell a new process all that is served."""

    def want_lane(self, frontend: FrontEndProcess, message: Message) -> None:
        """Make it lanes."""

    def local_lane(self, frontend: FrontEndProcess, message: Message) -> None:
        """Make a lane for a client of it, and answer the message with that."""

    def drop_local(self, frontend: FrontEndProcess, number: int) -> None:
        """Drop such a lane."""


class FrontEndProcess(ChildProcess):
    """One front end of a protocol."""

    def __init__(
        self,
        protocol: str,
        index: int,
        listeners: Sequence[socket.socket] = (),
        prometheus_path: str | None = None,
        ssl: SslConfig | None = None,
        check: Callable[[], None] = lambda: None,
        listen: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`listeners`: the sockets that it listens on, which outlive it; none: gRPC's, which makes its own. `listen` has
        them listen; None: the process does.

        `prometheus_path`: where it shows the page of metrics with upstream's names; None: nowhere. `ssl`: what secures its
        connections. `check` is called before it may listen, and raises ServingError where it can't.
        """
        super().__init__(f"frontend {protocol} {index}", ["frontend", protocol, "--index", str(index)])
        self.listeners = listeners
        self._listen = listen
        self.has_lanes = protocol != "local"  # of its own, that is; local clients have theirs to themselves
        self._open_message: Message = {"type": "open", "prometheus_path": prometheus_path, "ssl": ssl}
        self._check = check
        self.open = False  # may it accept connections?
        self.informed = False  # is the present process told of what is served, and of each change?
        self._introduced = asyncio.Event()  # the present process knows all, and accepts connections if it may
        #: By model and version: the present process's counts added to those of the ones before it.
        self.shadow_counts: dict[tuple[str, int], Counter[str]] = {}
        self._former_counts: dict[tuple[str, int], Counter[str]] = {}
        self._joiner: Joiner
        self._pages: Mapping[str, Callable[[], str]]
        self._reload: Callable[[bytes], Awaitable[Message]]
        self._batching: Callable[[], Awaitable[str]]
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(
        self,
        options: ServerOptions,
        joiner: Joiner,
        pages: Mapping[str, Callable[[], str]],
        reload: Callable[[bytes], Awaitable[Message]],
        batching: Callable[[], Awaitable[str]],
    ) -> None:
        """Keep the front end running. `pages` are what it may show of metrics, "clean" and "upstream"; `reload` answers a
        serialised ReloadConfigRequest; `batching` is what it may show of that, in JSON.
        """
        self._joiner = joiner
        self._pages = pages
        self._reload = reload
        self._batching = batching

        async def boot() -> None:
            await self.booted()
            joiner.introduce(self)
            if self.open:
                await self._let_open()
            self._introduced.set()
            if self.restarts:
                _logger.info("%s is back (pid %d)", self.title, self.pid)

        await self.keep(options, {"listener": [listener.fileno() for listener in self.listeners]}, boot)

    def handle(self, message: Message) -> None:
        if message["type"] == "want_lane":
            self._joiner.want_lane(self, message)
        elif message["type"] == "local_lane":
            self._joiner.local_lane(self, message)
        elif message["type"] == "drop_local":
            self._joiner.drop_local(self, message["lane"])
        elif message["type"] == "shadow_counts":
            key = (message["model"], message["version"])
            now = {name: message[name] for name in ("compared", "differed", "failed", "dropped")}
            self.shadow_counts[key] = self._former_counts.get(key, Counter()) + Counter(now)
        elif message["type"] == "metrics":
            self.send({"type": "told", "call": message["call"], "text": self._pages[message["page"]]()})
        elif message["type"] == "reload":
            self._answer_later(message, self._reload(message["request"]))
        elif message["type"] == "batching":
            self._answer_later(message, self._batching_answer())

    def _answer_later(self, message: Message, work: Awaitable[Message]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(message, work))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _batching_answer(self) -> Message:
        return {"text": await self._batching()}

    async def _answer(self, message: Message, work: Awaitable[Message]) -> None:
        """Models, or workers, are waited for meanwhile; where the front end is gone by then, nobody hears of it."""
        pid = self.pid
        answer = await work
        if self.pid == pid:  # else another process has its place, whose calls count anew
            self.send({"type": "told", "call": message["call"], **answer})

    def gone(self) -> None:
        self.informed = False
        self._former_counts = dict(self.shadow_counts)
        self._introduced.clear()

    async def accept(self) -> None:
        """Let it accept connections from now on; returns when it does. Raises ServingError when it can't."""
        for listener in self.listeners:
            share_with_the_past(listener)
        if self._listen is not None:
            await self._listen()
        self.open = True
        if self._introduced.is_set():
            await self._let_open()
        await self._introduced.wait()  # models may be there before a front end is

    async def _let_open(self) -> None:
        self._check()
        await self.call(self._open_message)
