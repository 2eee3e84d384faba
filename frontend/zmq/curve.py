"""Encryption, and who may connect: CURVE with the server's key, and a list of the clients' keys."""

from __future__ import annotations

import logging
from typing import Any, Final

import zmq
from zmq.auth.thread import ThreadAuthenticator

from ringserve.curve_files import read_allowed_keys, read_secret_key
from ringserve.options import ServerOptions

_ANY_DOMAIN: Final = "*"
logging.getLogger("zmq.auth").setLevel(logging.WARNING)  # it has a line for every connection


class Curve:
    """What the options say of it."""

    def __init__(self, secret_key: bytes, allowed: frozenset[bytes] | None) -> None:
        """Keys are Z85 texts; `allowed` None: whoever knows the server's public key may connect."""
        self._secret_key = secret_key
        self._allowed = allowed
        self._authenticator: ThreadAuthenticator | None = None

    @classmethod
    def of(cls, options: ServerOptions) -> Curve | None:
        """None: connections are plain. Raises ServingError for files that can't be read."""
        if not options.zmq_curve_secret_key_file:
            return None
        path = options.zmq_curve_allowed_keys_file
        return cls(read_secret_key(options.zmq_curve_secret_key_file), read_allowed_keys(path) if path else None)

    def secure(self, context: zmq.Context[Any], socket: zmq.Socket[Any]) -> None:
        """Before the socket is bound."""
        if self._allowed is not None:
            authenticator = self._authenticator = ThreadAuthenticator(context)
            authenticator.start()
            authenticator.configure_curve_callback(_ANY_DOMAIN, credentials_provider=self)
        socket.curve_secretkey = self._secret_key
        socket.curve_publickey = zmq.curve_public(self._secret_key)
        socket.curve_server = True

    def callback(self, domain: str, key: bytes) -> bool:
        """May a client with this public key, in Z85, connect? Asked by the authenticator, in its thread."""
        return self._allowed is None or key in self._allowed

    def stop(self) -> None:
        if self._authenticator is not None:
            self._authenticator.stop()
