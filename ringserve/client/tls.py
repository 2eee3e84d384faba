"""What a client needs for TLS, beside the system's root certificates."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

#: PEM text as bytes, or the path of a file with it.
Pem = bytes | str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Tls:
    """`root_certificates`: whom to trust (without: for gRPC its own list, for HTTPS the system's);
    `certificate` and `private_key`: who the client is, for servers that want to know;
    `server_name`: the name in the server's certificate, where it isn't the address's host.
    """

    root_certificates: Pem | None = None
    certificate: Pem | None = None
    private_key: Pem | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("a client's certificate and its private key go together")


def pem(source: Pem | None) -> bytes | None:
    """The text. Raises OSError where a file can't be read."""
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()


def with_texts(tls: Tls) -> Tls:
    """The same, with the files' texts in the place of their paths. Raises OSError where one can't be read."""
    return Tls(pem(tls.root_certificates), pem(tls.certificate), pem(tls.private_key), tls.server_name)
