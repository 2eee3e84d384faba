"""The way to a server, by its URL. What a protocol needs is imported when a URL wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringserve.client.tls import Tls
from ringserve.client.transport import Transport

if TYPE_CHECKING:
    from ringserve.client.zmq.keys import CurveKeys

_GRPC: Final = ("grpc", "grpcs", "grpc+unix")
_HTTP: Final = ("http", "https")
_ZMQ: Final = ("zmq", "zmq+ipc")
_LOCAL: Final = ("shm",)
_SCHEMES: Final = (*_GRPC, *_HTTP, *_ZMQ, *_LOCAL)
_FORMS: Final = (
    "grpc://host:port, grpcs://host:port (TLS), grpc+unix:///path, http://host:port, https://host:port, zmq://host:port, "
    "zmq+ipc:///path and shm:///path are supported"
)


def transport_of(url: str, tls: Tls | None, curve: CurveKeys | None) -> Transport:
    """It is not connected yet.

    Raises ValueError for a URL of another form, and for `tls` and `curve` where they mean nothing; OSError where a file of
    `tls` can't be read.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ValueError(f"{url!r} has no scheme: {_FORMS}")
    if scheme not in _SCHEMES:
        raise ValueError(f"{url!r} has the scheme {scheme!r}: only {_FORMS}")
    if tls is not None and scheme not in ("grpcs", "https"):
        raise ValueError("tls needs an address that begins with grpcs:// or https://")
    if curve is not None and scheme not in _ZMQ:
        raise ValueError("curve needs an address that begins with zmq:// or zmq+ipc://")
    return _made(scheme, url, tls, curve)


def _made(scheme: str, url: str, tls: Tls | None, curve: CurveKeys | None) -> Transport:
    if scheme in _HTTP:
        from ringserve.client.http.transport import HttpTransport  # noqa: PLC0415

        return HttpTransport(url, tls)
    if scheme in _ZMQ:
        from ringserve.client.zmq.transport import ZmqTransport  # noqa: PLC0415

        return ZmqTransport(url, curve)
    if scheme in _LOCAL:
        from ringserve.client.shm.transport import ShmTransport  # noqa: PLC0415

        return ShmTransport(url)
    from ringserve.client.grpc.address import Address  # noqa: PLC0415
    from ringserve.client.grpc.transport import GrpcTransport  # noqa: PLC0415

    return GrpcTransport(Address.of(url), tls)
