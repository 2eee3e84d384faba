"""The ROUTER socket: messages come in bursts, and answers go out, without ever waiting for a client."""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import zmq

from frontend.zmq.backlog import Backlog

_BURST: Final = 256  # messages that are taken before completions have their turn
_MOST_FRAMES: Final = 4096
_COUNTED_FROM: Final = 4 << 10  # bytes: of smaller answers those that ZeroMQ holds are not much
_MOST_HELD_BYTES: Final = 256 << 20  # of one client's answers, before its requests are refused
_FEW_BACKLOGS: Final = 64
_COPIED_BELOW: Final = 64 << 10  # bytes: sending without a copy costs more than the copy
_MOST_UNSENT_BYTES: Final = 64 << 20  # of one client's answers, besides those that ZeroMQ holds
_MOST_QUEUED: Final = 10_000  # answers of one client that ZeroMQ holds
_HEARTBEAT_MS: Final = 10_000
_LOST_MS: Final = 30_000
_WARN_SECONDS: Final = 5.0
_MESSAGE_ROOM: Final = 16 << 20
_NO_WAIT: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE | zmq.NOBLOCK)
_GONE: Final = (errno.EHOSTUNREACH, errno.EPIPE)

_logger = logging.getLogger(__name__)


class Take(Protocol):
    """Gets a message: from whom, whether an empty frame is to go before the answer (as REQ sockets want it), the first part,
    and views of those after it.
    """

    def __call__(self, identity: bytes, delimited: bool, header: bytes, frames: Sequence[memoryview]) -> None: ...


class Router:
    """Answers to clients that are gone are dropped; so are those of clients that don't take them, and that is logged."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], most_bytes: int) -> None:
        """`most_bytes`: of the tensors of a request. A client that sends a part of far more is disconnected."""
        self.socket = context.socket(zmq.ROUTER)
        options = {
            zmq.ROUTER_MANDATORY: 1,  # else answers that can't be sent would vanish unseen
            zmq.SNDHWM: _MOST_QUEUED,
            zmq.MAXMSGSIZE: 2 * most_bytes + _MESSAGE_ROOM,
            zmq.HEARTBEAT_IVL: _HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: _LOST_MS,
            zmq.IPV6: 1,
            zmq.BACKLOG: 1024,
        }
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        # The package's own method looks for what only other kinds of sockets have, which takes longer than to send.
        self._send: Callable[..., Any] = super(zmq.Socket, self.socket).send
        self.on_kept: Callable[[], None] | None = None  # is called when there are answers to `send_again`
        self._unsent: dict[bytes, deque[tuple[bool, Sequence[bytes]]]] = {}
        self._unsent_bytes: dict[bytes, int] = {}
        self._backlogs: dict[bytes, Backlog] = {}
        self._many_backlogs = _FEW_BACKLOGS
        self.behind: set[bytes] = set()  # clients that may have far too many answers that they did not take
        self._warned = 0.0

    def listen(self, endpoint: str, fd: int) -> None:
        """Accept connections from a socket that is bound and listens. Raises zmq.ZMQError."""
        self.socket.setsockopt(zmq.USE_FD, fd)
        self.socket.bind(endpoint)

    def close(self, seconds: float) -> None:
        """Answers that have been sent may take so long to go out."""
        self.socket.close(round(seconds * 1000))

    def receive(self, take: Take) -> tuple[list[bytes], list[bytes]]:
        """What has come, so many messages at most: of those with a single part who sent them, and the parts; others are
        handed over.
        """
        identities, headers = [], []
        receive = self.socket.recv
        try:
            for _ in range(_BURST):
                identity = receive(_NO_WAIT)
                frame = receive(copy=False)  # which says whether more follow; a message's parts are there together
                if frame.more:
                    take(identity, *self._further(frame.bytes))
                else:
                    identities.append(identity)
                    headers.append(frame.bytes)
        except zmq.Again:
            pass
        return identities, headers

    def _further(self, header: bytes) -> tuple[bool, bytes, Sequence[memoryview]]:
        delimited = not header
        more: int = 1
        if delimited:
            header = self.socket.recv()
            more = self.socket.getsockopt(zmq.RCVMORE)  # type: ignore[assignment]
        frames: list[memoryview] = []
        while more:
            frame = self.socket.recv(copy=False)
            more = frame.more
            if len(frames) <= _MOST_FRAMES:
                frames.append(frame.buffer)
        return delimited, header, frames

    def send(self, identity: bytes, delimited: bool, parts: Sequence[bytes]) -> None:
        """At once, if ZeroMQ takes it; else it is kept until it does."""
        if identity in self._unsent or not self._sent(identity, delimited, parts):
            self._keep(identity, delimited, parts)

    def send_each(self, identities: Sequence[bytes], answers: Sequence[bytes]) -> None:
        """Answers of one part each and of one length, each to its client."""
        done = 0
        if not self._unsent and len(answers[0]) < _COUNTED_FROM:
            send = self._send
            with suppress(zmq.ZMQError):  # it is tried again below, and looked at there
                for identity, answer in zip(identities, answers, strict=True):
                    send(identity, _MORE)
                    send(answer, _NO_WAIT)
                    done += 1
        for at in range(done, len(answers)):
            self.send(identities[at], False, (answers[at],))

    def _sent(self, identity: bytes, delimited: bool, parts: Sequence[bytes]) -> bool:
        """False: the client has too many answers that it did not take."""
        send = self._send
        try:
            send(identity, _MORE)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno not in _GONE:
                raise
            self._backlogs.pop(identity, None)
            return True  # nobody is there any more
        if delimited:
            send(b"", _MORE)
        if len(parts) == 1 and len(parts[0]) < _COUNTED_FROM:
            send(parts[0], _NO_WAIT)
        else:
            self._send_counted(identity, parts)
        return True

    def _send_counted(self, identity: bytes, parts: Sequence[bytes]) -> None:
        """What comes after the client's name and delimiter: it always goes."""
        send = self._send
        backlog = self._backlogs.get(identity) or self._new_backlog(identity)
        for part in parts[:-1]:
            send(part, _MORE, copy=len(part) < _COPIED_BELOW)
        last = parts[-1]
        if backlog.add(sum(map(len, parts))):
            marked = zmq.Frame(last, track=True, copy=False, copy_threshold=0)
            backlog.mark(send(marked, _NO_WAIT, copy=False, track=True))
            if backlog.size > _MOST_HELD_BYTES and backlog.settle() > _MOST_HELD_BYTES:
                self.behind.add(identity)
        else:
            send(last, _NO_WAIT, copy=len(last) < _COPIED_BELOW)

    def _new_backlog(self, identity: bytes) -> Backlog:
        backlogs = self._backlogs
        if len(backlogs) >= self._many_backlogs:  # perhaps of clients that have gone
            backlogs = self._backlogs = {name: backlog for name, backlog in backlogs.items() if not backlog.is_small}
            self._many_backlogs = max(2 * len(backlogs), _FEW_BACKLOGS)
        made = backlogs[identity] = Backlog()
        return made

    def is_behind(self, identity: bytes) -> bool:
        """Has the client far too many answers that it did not take? Of one that is in `behind`."""
        backlog = self._backlogs.get(identity)
        if backlog is not None and backlog.settle() > _MOST_HELD_BYTES // 2:
            return True
        self.behind.discard(identity)
        return False

    def _keep(self, identity: bytes, delimited: bool, parts: Sequence[bytes]) -> None:
        size = sum(map(len, parts)) + self._unsent_bytes.get(identity, 0)
        if size <= _MOST_UNSENT_BYTES:
            if not self._unsent and self.on_kept is not None:
                self.on_kept()
            self._unsent.setdefault(identity, deque()).append((delimited, parts))
            self._unsent_bytes[identity] = size
            return
        now = time.monotonic()
        if now - self._warned >= _WARN_SECONDS:
            self._warned = now
            _logger.warning("answers are dropped: a client does not take them, and has %d bytes waiting", size)

    @property
    def has_unsent(self) -> bool:
        """Are there answers that ZeroMQ did not take yet?"""
        return bool(self._unsent)

    def send_again(self) -> None:
        """What was kept, as far as ZeroMQ takes it now."""
        for identity in list(self._unsent):
            waiting = self._unsent[identity]
            while waiting and self._sent(identity, *waiting[0]):
                self._unsent_bytes[identity] -= sum(map(len, waiting.popleft()[1]))
            if not waiting:
                del self._unsent[identity], self._unsent_bytes[identity]
