"""What is asked: a model, or a path, of a server; and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ringserve.client.operations import Which

Api = Literal["tfs", "v2", "raw"]


class PreparationError(Exception):
    """A request can't be made, or the server has not answered it as it should; with the server's words."""


@dataclass(frozen=True, slots=True)
class Target:
    """`url`: http://host:port, grpc://host:port, zmq://…, zmq+ipc://…, shm://…

    `api`: "tfs", TensorFlow Serving's or ringserve's own; "v2", KServe's; "raw", any POST over HTTP. `form` of the body of
    an HTTP request: "json" (by rows), "columns", "msgpack", "npy", "npz", "bytes" or "protobuf"; of V2 "json" or "binary",
    over gRPC always the latter. `path` and `content_type`: of the raw API.
    """

    url: str
    model: str = ""
    api: Api = "tfs"
    version: int | None = None
    label: str | None = None
    signature: str = ""  # the default one
    form: str = "json"
    path: str = ""
    content_type: str = "application/json"
    connections: int = 1  # of a generator, over gRPC: its requests share them
    headers: dict[str, str] = field(default_factory=dict)  # besides, of HTTP requests

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def which(self) -> Which:
        return self.model, self.version, self.label
