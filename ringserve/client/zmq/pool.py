"""The connections of one client in one process: each thread that waits for an answer has one for itself meanwhile."""

from __future__ import annotations

import threading
from typing import Final

import zmq

from ringserve.client.failures import closed
from ringserve.client.zmq.address import ZmqAddress
from ringserve.client.zmq.connection import Connection
from ringserve.client.zmq.keys import CurveTexts

_MOST: Final = 16  # connections that threads have for themselves; more threads share the submitter's


class ConnectionPool:
    """Connections are lent, and none of them is closed while it is: ZeroMQ's sockets belong to one thread at a time."""

    def __init__(self, address: ZmqAddress, keys: CurveTexts | None) -> None:
        self.is_closed = False
        self._address = address
        self._keys = keys
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._idle: list[Connection] = []
        self._there = 0  # connections in all, and those that are being made

    def take(self) -> Connection | None:
        """One that was up at last sight, or else a new one; None: there are as many as may be.

        Raises ServingError: UNAVAILABLE, FAILED_PRECONDITION where the pool is closed.
        """
        while True:
            with self._lock:
                if self.is_closed:
                    raise closed()
                if not self._idle:
                    if self._there >= _MOST:
                        return None
                    self._there += 1
                    break
                connection = self._idle.pop()
            connection.look()
            if connection.failure is None:
                return connection
            self.discard(connection)
        return self._new()

    def connect(self) -> Connection:
        """A new one in any case. Raises ServingError as `take`."""
        with self._lock:
            if self.is_closed:
                raise closed()
            self._there += 1
        return self._new()

    def give(self, connection: Connection) -> None:
        """Back, to be used again, if it can be."""
        with self._lock:
            is_good = not self.is_closed and connection.is_up and connection.failure is None
            if is_good:
                self._idle.append(connection)
        if not is_good:
            self.discard(connection)

    def discard(self, connection: Connection) -> None:
        connection.close()
        self._one_less()

    def close(self) -> None:
        """The connections that are lent are closed when they come back. Again: does nothing."""
        with self._lock:
            if self.is_closed:
                return
            self.is_closed = True
            idle, self._idle = self._idle, []
            self._there += 1  # this is no less a user
        for connection in idle:
            self.discard(connection)
        self._one_less()

    def _new(self) -> Connection:
        """One that is among those that are there already."""
        try:
            with self._lock:
                context = self._context = self._context or zmq.Context()
            return Connection(context, self._address, self._keys)
        except BaseException:
            self._one_less()
            raise

    def _one_less(self) -> None:
        with self._lock:
            self._there -= 1
            is_over = self.is_closed and not self._there
        if is_over and self._context is not None:
            self._context.term()  # returns soon, as no socket is left
