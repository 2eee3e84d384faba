"""One connection to a ZeroMQ front end. It does not come back when it is lost: there is another one then."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from ringserve.client.tensor_message import Buffer
from ringserve.client.zmq.address import ZmqAddress
from ringserve.client.zmq.keys import CurveTexts
from ringserve.errors import Code, ServingError

Context = zmq.Context[zmq.Socket[bytes]]
#: The first part, and those behind it.
Message = tuple[bytes, Sequence[Buffer]]

CONNECT_SECONDS: Final = 10.0  # as a front end that is started anew may take until it answers those who wait
_COPIED_BELOW: Final = 512 << 10  # bytes; ZeroMQ telling of a part that it is done with costs more than such a copy
_MOST_UNSENT: Final = 8  # messages that ZeroMQ holds: those that wait for it can still be joined or cancelled
_HEARTBEAT_MS: Final = 5_000
_LOST_MS: Final = 30_000  # a large part takes long to arrive, and nothing is heard meanwhile
_QUICK_MS: Final = 20  # a wait that needs no look at anything but the answer
_MORE: Final = zmq.NOBLOCK | zmq.SNDMORE

_HANDSHAKE_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_ENDED: Final = zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED
_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | _HANDSHAKE_FAILED | _ENDED
_OPTIONS: Final = {
    zmq.LINGER: 0,
    zmq.IMMEDIATE: 1,  # nothing is queued for a server that isn't there
    zmq.RECONNECT_IVL: -1,
    zmq.SNDHWM: _MOST_UNSENT,
    zmq.RCVHWM: 0,  # a server may drop answers that nobody takes
    zmq.RCVTIMEO: _QUICK_MS,
    zmq.HEARTBEAT_IVL: _HEARTBEAT_MS,
    zmq.HEARTBEAT_TIMEOUT: _LOST_MS,
}


class Connection:
    """Used by one thread at a time. `is_up`: the handshake is over; `failure`: why there is no connection any more."""

    def __init__(self, context: Context, address: ZmqAddress, keys: CurveTexts | None) -> None:
        """Begins to connect. Raises ServingError (UNAVAILABLE)."""
        endpoint, ipv6 = address.endpoint()
        self.is_up = False
        self.failure: ServingError | None = None
        self.gives_up = time.monotonic() + CONNECT_SECONDS
        self._address = address
        self._keys = keys
        try:
            self.socket, self.monitor = _monitored(context)
        except zmq.ZMQError as error:  # as where the process has too many files open
            raise address.unreachable(error.strerror or str(error)) from error
        try:
            for option, value in {**_OPTIONS, zmq.IPV6: int(ipv6)}.items():
                self.socket.setsockopt(option, value)
            if keys is not None:
                self.socket.curve_serverkey, self.socket.curve_publickey, self.socket.curve_secretkey = keys
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise address.unreachable(error.strerror or str(error)) from error
        except BaseException:
            self.close()
            raise

    def wait_until_up(self, seconds: float | None) -> bool:
        """False: it takes longer than that. Raises ServingError (UNAVAILABLE)."""
        ends = self.gives_up if seconds is None else min(time.monotonic() + seconds, self.gives_up)
        while not self.is_up:
            left = ends - time.monotonic()
            if left <= 0:
                if time.monotonic() < self.gives_up:
                    return False
                raise self.too_slow()
            self.monitor.poll(_milliseconds(left))
            self.look()
            if self.failure is not None:
                raise self.failure
        return True

    def too_slow(self) -> ServingError:
        """It was not up in time."""
        return self._address.unreachable(f"no ZeroMQ connection within {CONNECT_SECONDS:g} s; is it a server's ZeroMQ port?")

    def look(self) -> None:
        """What has become of the connection."""
        while self.failure is None and int(self.monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._see(recv_monitor_message(self.monitor, zmq.NOBLOCK))

    def send(self, parts: Sequence[Buffer]) -> bool:
        """False: it takes no more for now."""
        send, last = self.socket.send, parts[-1]
        try:
            for part in parts[:-1]:  # a message of which a part was taken is taken as a whole
                send(part, _MORE, copy=len(part) < _COPIED_BELOW)
            send(last, zmq.NOBLOCK, copy=len(last) < _COPIED_BELOW)
        except zmq.Again:
            return False
        return True

    def wait_until_sent(self, parts: Sequence[Buffer], seconds: float | None) -> bool:
        """Sends. False: it was not taken within that time. Raises ServingError (UNAVAILABLE)."""
        ends = None if seconds is None else time.monotonic() + seconds
        while not self.send(parts):
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                return False
            zmq.zmq_poll([(self.socket, zmq.POLLOUT), (self.monitor, zmq.POLLIN)], _milliseconds(left))
            self.look()
            if self.failure is not None:
                raise self.failure
        return True

    def receive(self, seconds: float | None) -> Message | None:
        """None: nothing has come within that time. Raises ServingError (UNAVAILABLE) when the connection is lost."""
        is_short = seconds is not None and seconds * 1000 < _QUICK_MS
        message = self.take(zmq.NOBLOCK if is_short else 0)
        if message is None:
            left = seconds if seconds is None or is_short else seconds - _QUICK_MS / 1000
            zmq.zmq_poll([(self.socket, zmq.POLLIN), (self.monitor, zmq.POLLIN)], _milliseconds(left))
            self.look()
            message = self.take()  # may have come before the end
            if message is None and self.failure is not None:
                raise self.failure
        return message

    def take(self, flags: int = zmq.NOBLOCK) -> Message | None:
        """What has come."""
        try:
            header = self.socket.recv(flags)
        except zmq.Again:
            return None
        if not self.socket.getsockopt(zmq.RCVMORE):
            return header, ()
        frames: list[Buffer] = []
        more = True
        while more:
            frame = self.socket.recv(zmq.NOBLOCK, copy=False)  # a message's parts are there together
            frames.append(frame.buffer)
            more = frame.more
        return header, frames

    def close(self) -> None:
        """Again: does nothing."""
        if self.socket.closed:
            return
        self.socket.disable_monitor()
        self.socket.close()
        self.monitor.close()

    def _see(self, event: Any) -> None:
        kind = event["event"]
        if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.is_up = True
        elif kind & _HANDSHAKE_FAILED:
            self.failure = self._address.unreachable(self._handshake(kind))
        elif self.is_up:
            self.failure = ServingError(
                Code.UNAVAILABLE, f"The connection to {self._address.url} was lost before the answer came"
            )
        else:
            self.failure = self._address.why_unreachable()

    def _handshake(self, kind: int) -> str:
        if kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return "the handshake failed: the server does not know the client's key"
        if self._keys is not None:
            return "the CURVE handshake failed; does the server have another key, or none?"
        return "the handshake failed; does the server want CURVE keys, or speak another protocol?"


def _monitored(context: Context) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A socket, and the one that says what becomes of it. Raises ZMQError."""
    made = context.socket(zmq.DEALER)
    try:
        return made, made.get_monitor_socket(_EVENTS)
    except BaseException:
        made.disable_monitor()
        made.close(0)  # or the context would wait for it
        raise


def _milliseconds(seconds: float | None) -> int:
    """As ZeroMQ takes them, at least 1; -1: no limit."""
    return -1 if seconds is None else min(int(max(seconds, 0) * 1000) + 1, (1 << 31) - 1)
