"""The requests of a run, encoded once: what generators are handed, whatever the protocol."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it goes out, and the answer that is right, as it came when it was asked alone before the run."""

    parts: tuple[bytes, ...]  # http: head and body in one; grpc: the message; zmq: frames; shm: tensors as tensor_bytes.py
    answer: tuple[bytes, ...]  # http: the body, and the head that came with it; grpc: the message; zmq: frames; shm: tensors


@dataclass(frozen=True, slots=True)
class RequestSet:
    """All generators send them in turn, each from a place of its own."""

    url: str  # http://host:port, grpc://host:port, zmq://…, zmq+ipc://…, shm://…
    api: str  # "tfs", "v2" or "raw"
    requests: tuple[Request, ...]
    about: dict[str, Any] = field(
        default_factory=dict
    )  # model, signature, version, rows, method, path, … of the protocol's need

    def to_wire(self) -> dict[str, Any]:
        def text(parts: tuple[bytes, ...]) -> list[str]:
            return [base64.b64encode(part).decode() for part in parts]

        requests = [{"parts": text(each.parts), "answer": text(each.answer)} for each in self.requests]
        return {"url": self.url, "api": self.api, "requests": requests, "about": self.about}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> RequestSet:
        def parts(texts: list[str]) -> tuple[bytes, ...]:
            return tuple(base64.b64decode(text) for text in texts)

        requests = tuple(Request(parts(each["parts"]), parts(each["answer"])) for each in wire["requests"])
        return cls(wire["url"], wire["api"], requests, wire["about"])
