"""The keys with which ZeroMQ connections are encrypted, and both sides know each other (CURVE)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

#: 40 characters of Z85, or the path of a file with them: a certificate as `zmq.auth.create_certificates` writes it, or one
#: key alone.
Key = bytes | str | os.PathLike[str]

_KEY: Final = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_LINE: Final = rb'^\s*%s-key\s*=\s*"([^"]*)"\s*$'
_LONGEST_FILE: Final = 1 << 16  # bytes


class CurveTexts(NamedTuple):
    """40 characters each."""

    server: bytes
    public: bytes
    secret: bytes


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """`server_key`: the server's public key; `public_key` and `secret_key`: the client's own, for servers that want to know
    who it is. The public one follows from the secret one; without either the client makes a pair for itself.
    """

    server_key: Key
    public_key: Key | None = None
    secret_key: Key | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.public_key is not None and self.secret_key is None:
            raise ValueError("a public key needs the secret key that goes with it")

    def read(self) -> CurveTexts:
        """Raises ValueError for what is no key, OSError where a file can't be read."""
        import zmq  # noqa: PLC0415 - not every client has it

        server = _key(self.server_key, b"public")
        if self.secret_key is None:
            return CurveTexts(server, *zmq.curve_keypair())
        secret = _key(self.secret_key, b"secret")
        try:
            public = zmq.curve_public(secret)
        except zmq.ZMQError as error:
            raise ValueError("the secret key is no key") from error
        if self.public_key is not None and _key(self.public_key, b"public") != public:
            raise ValueError("the public key is not the one that goes with the secret key")
        return CurveTexts(server, public, secret)


def _key(source: Key, which: bytes) -> bytes:
    """No text of a file is in an error: it may be a secret one."""
    data = source.encode() if isinstance(source, str) else source
    if isinstance(data, bytes) and _KEY.fullmatch(data):
        return data
    if isinstance(source, bytes):
        raise ValueError(f"a {which.decode()} key of {len(source)} bytes; 40 characters of Z85 are one")
    with Path(source).open("rb") as file:
        content = file.read(_LONGEST_FILE)
    found = re.search(_LINE % which, content, re.MULTILINE)
    key = found[1] if found else content.strip()
    if not _KEY.fullmatch(key):
        raise ValueError(f"{os.fspath(source)} has no {which.decode()} key of 40 characters Z85 in it")
    return key
