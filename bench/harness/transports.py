"""The transport of a set of requests, by its URL. What a protocol needs is imported when a URL wants it."""

from __future__ import annotations

from bench.harness.request_set import RequestSet
from bench.harness.transport import Transport


def open_transport(requests: RequestSet, slots: int) -> Transport:
    """Connected. Raises ValueError for a URL of another form, OSError where the server can't be reached."""
    scheme = requests.url.partition("://")[0]
    if scheme == "http":
        from bench.harness.http_transport import HttpTransport  # noqa: PLC0415

        return HttpTransport(requests, slots)
    if scheme in ("grpc", "grpc+unix"):
        from bench.harness.grpc_transport import GrpcTransport  # noqa: PLC0415

        return GrpcTransport(requests, slots)
    if scheme in ("zmq", "zmq+ipc"):
        from bench.harness.zmq_transport import ZmqTransport  # noqa: PLC0415

        return ZmqTransport(requests, slots)
    if scheme == "shm":
        from bench.harness.shm_transport import ShmTransport  # noqa: PLC0415

        return ShmTransport(requests, slots)
    raise ValueError(f"{requests.url!r}: only http://, grpc://, zmq://, zmq+ipc:// and shm:// can be asked")
