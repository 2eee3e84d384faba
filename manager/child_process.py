"""A child process: started with a control channel, a doorbell and counters, watched, started anew when it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import psutil

from ringserve.channel import AsyncChannel, Message
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from shm.counters import CounterTable
from shm.doorbell import Doorbell

_logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.1  # seconds before a new start after an early end; doubles
_LONGEST_PAUSE: Final = 10.0
_LONG_LIFE: Final = 10.0  # seconds after which an end counts as the first


class ChildProcess:
    """One role (`worker cpu:0`, `frontend rest 0`) and the process that has it at present.

    The doorbell is the role's, not the process's: whoever rings it need not know of a restart. So are the counters: a new
    process goes on where the one before it stopped.
    """

    def __init__(self, title: str, command: Sequence[str]) -> None:
        """`command`: module and arguments for `python -m`."""
        self.title = title
        self.doorbell = Doorbell.create()
        self.counters = CounterTable.create()
        self.restarts = 0
        self.pid = 0
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: AsyncChannel | None = None
        self._calls: dict[int, asyncio.Future[Message]] = {}
        self._next_call = 0
        self._booted: asyncio.Future[None]
        self._ended = asyncio.Event()
        self._stopping = False

    async def keep(
        self, options: ServerOptions, descriptors: Mapping[str, Sequence[int]], boot: Callable[[], Awaitable[None]]
    ) -> None:
        """Run the process for as long as the server runs, a new one whenever it ends.

        It inherits `descriptors`, which its command line names (`--listener-fd 7 --listener-fd 8`). `boot` brings it
        to where it can work. Raises what `boot` raises the first time; later its failure is logged and the process started
        again.
        """
        pause = _FIRST_PAUSE
        while not self._stopping:
            began = time.monotonic()
            try:
                self._spawn(options, descriptors)
                await boot()
            except (ServingError, OSError) as error:
                if self._stopping:
                    break
                if not self.restarts:
                    raise error if isinstance(error, ServingError) else ServingError(Code.INTERNAL, str(error)) from error
                _logger.error("%s could not be brought back: %s", self.title, error)
                self.kill()
            await self._ended.wait()
            if self._stopping:
                break
            long_life = time.monotonic() - began > _LONG_LIFE
            if long_life:
                pause = _FIRST_PAUSE
            elif self.restarts:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            self.restarts += 1

    def _spawn(self, options: ServerOptions, descriptors: Mapping[str, Sequence[int]]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            own = {"control": [theirs.fileno()], "doorbell": [self.doorbell.fd], "counters": [self.counters.fd]}
            fds = [(name, fd) for name, handed in (own | dict(descriptors)).items() for fd in handed]
            # -P: a folder named `workers` where the user happens to stand is not ours.
            command = [sys.executable, "-P", "-m", *self._command, "--options", json.dumps(asdict(options))]
            for name, fd in fds:
                command += [f"--{name}-fd", str(fd)]
            self._process = subprocess.Popen(command, pass_fds=[fd for _, fd in fds], stdin=subprocess.DEVNULL)
        self.pid = self._process.pid
        self._ended = asyncio.Event()
        self._booted = asyncio.get_running_loop().create_future()
        self._channel = AsyncChannel(ours, self._on_message, lambda: None)
        pidfd = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._on_exit, pidfd, self._process, self._channel)

    def _on_exit(self, pidfd: int, process: subprocess.Popen[bytes], channel: AsyncChannel) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        code = process.wait()
        channel.close()
        self.gone()
        if not self._stopping:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            _logger.error("%s (pid %d) %s; starting a new one", self.title, process.pid, how)
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                future.set_exception(ServingError(Code.UNAVAILABLE, f"{self.title} ended before it answered"))
        self._ended.set()

    def _on_message(self, message: Message, fds: list[int]) -> None:
        for fd in fds:  # children send none
            os.close(fd)
        if message["type"] == "answer":
            future = self._calls.pop(message["call"], None)
            if future is not None and not future.done():
                if message.get("code"):
                    future.set_exception(ServingError(Code(message["code"]), message["message"]))
                else:
                    future.set_result(message)
        elif message["type"] == "ready":
            self._booted.set_result(None)
        elif message["type"] == "boot_failed":
            self._booted.set_exception(ServingError(Code(message["code"]), message["message"]))
        else:
            self.handle(message)

    @property
    def state(self) -> str:
        """ "ready", "starting", or "waiting to restart" after an early end."""
        if self._process is None or self.has_ended:
            return "waiting to restart" if self.restarts else "starting"
        return "ready" if self._booted.done() else "starting"

    @property
    def resident_bytes(self) -> int | None:
        """Memory that the process has now; None while there is none."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss) if self.pid and not self.has_ended else None
        except psutil.Error:
            return None

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def ended(self) -> None:
        """Returns when the present process has ended."""
        await self._ended.wait()

    async def booted(self) -> None:
        """Wait for the process's first word. Raises ServingError when it has none, or a bad one."""
        ended = asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait([self._booted, ended], return_when=asyncio.FIRST_COMPLETED)
            if not self._booted.done():
                raise ServingError(Code.INTERNAL, f"{self.title} ended while it started")
            self._booted.result()
        finally:
            ended.cancel()

    def gone(self) -> None:
        """The process has ended; those who wait for its answers are told next. For subclasses."""

    def handle(self, message: Message) -> None:
        """A message that answers no call. For subclasses."""

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        if self._channel is not None:
            self._channel.send(message, fds)

    async def call(self, message: Message, fds: Sequence[int] = ()) -> Message:
        """Send a message and wait for its answer. Raises the error that comes back; UNAVAILABLE when the process ends."""
        if self._channel is None or self._channel.closed:
            raise ServingError(Code.UNAVAILABLE, f"{self.title} is not running")
        self._next_call = number = self._next_call + 1
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        self._channel.send({**message, "call": number}, fds)
        try:
            return await future
        finally:
            self._calls.pop(number, None)  # of one that is not waited for any more, too

    async def stop(self, seconds: float) -> None:
        """Ask the process to finish; kill it after `seconds`."""
        self._stopping = True
        if self._process is None or self._ended.is_set():
            return
        self.send({"type": "stop"})
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            _logger.warning("%s did not finish in %.0f s and is killed", self.title, seconds)
            self.kill()
            await self._ended.wait()

    def end(self) -> None:
        """Kill the process, and start no other."""
        self._stopping = True
        self.kill()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
