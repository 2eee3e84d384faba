"""How connections are secured: not at all, by TLS, or by ALTS."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

import grpc

from ringserve.errors import Code, ServingError
from ringserve.ssl_config import SslConfig


def server_credentials(ssl: SslConfig | None, alts: bool) -> grpc.ServerCredentials:
    """For every address that a server listens on; both at a time are refused with the options already.

    Raises ServingError (INVALID_ARGUMENT) for what gRPC can't use, which it says nowhere else than when a port is added.
    """
    if alts:
        credentials, what = grpc.alts_server_credentials(), "ALTS, which works in Google Cloud only"
    elif ssl is not None:
        pair = (ssl.key, ssl.certificate)
        credentials = grpc.ssl_server_credentials([pair], ssl.client_roots, ssl.verify_clients)
        what = "the key and certificate in --ssl_config_file"
    else:
        return grpc.insecure_server_credentials()
    if not _usable(credentials):
        raise ServingError(Code.INVALID_ARGUMENT, f"gRPC can't use {what}")
    return credentials


def _usable(credentials: grpc.ServerCredentials) -> bool:
    """Tried on a socket without a file, under a name that nobody knows."""
    with ThreadPoolExecutor(1) as executor:
        server = grpc.server(executor)
        try:
            server.add_secure_port(f"unix-abstract:ringserve-{secrets.token_hex(16)}", credentials)
        except RuntimeError:
            return False
        server.start()  # one that was never started would keep the socket
        server.stop(None).wait()
    return True
