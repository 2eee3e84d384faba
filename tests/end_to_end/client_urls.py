"""Addresses of a server that has a front end for every protocol."""

from __future__ import annotations

from typing import Final

from end_to_end.running_server import RunningServer

PROTOCOLS: Final = ("http", "grpc", "zmq", "shm")


def client_url(server: RunningServer, protocol: str) -> str:
    """For `ringserve.Client`."""
    return {
        "http": f"http://127.0.0.1:{server.port}",
        "grpc": f"grpc://127.0.0.1:{server.grpc_port}",
        "zmq": server.zmq_url,
        "shm": f"shm://{server.shm_socket}",
    }[protocol]
