"""Whom a gRPC server with these credentials talks to."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from frontend.grpc.credentials import server_credentials
from ringserve.errors import Code, ServingError
from ringserve.ssl_config import SslConfig

KEYS = Path(__file__).parents[2] / "data" / "tls"


def pem(name: str) -> bytes:
    return (KEYS / name).read_bytes()


PLAIN = SslConfig(pem("server.key"), pem("server.crt"), None, False)
BOTH = SslConfig(pem("server.key"), pem("server.crt"), pem("client.crt"), True)


@contextmanager
def listening(config: SslConfig | None) -> Iterator[int]:
    """Echoes; the port."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    with ThreadPoolExecutor(1) as executor:
        server = grpc.server(executor)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", {"Say": handler})])
        port = server.add_secure_port("127.0.0.1:0", server_credentials(config, alts=False))
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def echoed(channel: grpc.Channel) -> bytes:
    with channel:
        answer: bytes = channel.unary_unary("/test.Echo/Say")(b"hello", timeout=10)
        return answer


def secure(port: int, name: str = "", roots: str = "server.crt") -> grpc.Channel:
    """A client's channel, with a certificate of this name if there is one."""
    pair = (pem(f"{name}.key"), pem(f"{name}.crt")) if name else (None, None)
    return grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(pem(roots), *pair))


def refused(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echoed(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_without_any() -> None:
    with listening(None) as port:
        assert echoed(grpc.insecure_channel(f"127.0.0.1:{port}")) == b"hello"
        refused(secure(port))


def test_tls() -> None:
    with listening(PLAIN) as port:
        assert echoed(secure(port)) == b"hello"
        refused(grpc.insecure_channel(f"127.0.0.1:{port}"))
        refused(secure(port, roots="client.crt"))  # a client that does not trust this certificate


def test_roots_without_verification_ask_no_client() -> None:
    with listening(BOTH._replace(verify_clients=False)) as port:
        assert echoed(secure(port)) == b"hello"


def test_client_certificates() -> None:
    with listening(BOTH) as port:
        assert echoed(secure(port, "client")) == b"hello"
        refused(secure(port))
        refused(secure(port, "rsa"))


def test_what_only_grpc_refuses() -> None:
    with pytest.raises(ServingError) as caught:
        server_credentials(SslConfig(pem("odd.key"), pem("odd.crt"), None, False), alts=False)
    text = "gRPC can't use the key and certificate in --ssl_config_file"
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, text)


def test_alts_outside_of_google_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "alts_server_credentials", lambda: grpc.ssl_server_credentials([(b"none", b"none")]))
    with pytest.raises(ServingError, match="gRPC can't use ALTS, which works in Google Cloud only"):
        server_credentials(None, alts=True)
