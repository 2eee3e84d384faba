"""A client of a ZeroMQ server that is none of ours: pyzmq, msgpack and numpy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgpack
import numpy as np
import numpy.typing as npt
import zmq

Array = npt.NDArray[Any]
Fields = dict[str, Any]

PATIENCE: Final = 20.0  # seconds
_NUMPY: Final = {"float": "float32", "double": "float64", "half": "float16"}
_NAMES: Final = {name: wire for wire, name in _NUMPY.items()}


def tensor(name: str, value: Array | Sequence[bytes], data: int | None = None) -> list[Any]:
    """An input; `data`: the frame where its bytes are."""
    if isinstance(value, np.ndarray):
        wire = _NAMES.get(value.dtype.name, value.dtype.name)
        return [name, wire, list(value.shape), value.tobytes() if data is None else data]
    return [name, "string", [len(value)], list(value)]


def predicting(model: str, inputs: Mapping[str, Array | Sequence[bytes]], **fields: Any) -> Fields:
    """A request."""
    return {"model": model, **fields, "inputs": [tensor(name, value) for name, value in inputs.items()]}


def outputs(answer: Fields, frames: Sequence[bytes] = ()) -> dict[str, Array | list[bytes]]:
    """An answer's tensors by name. Fails for an error."""
    assert "error" not in answer, answer
    found: dict[str, Array | list[bytes]] = {}
    for name, dtype, shape, data in answer["outputs"]:
        if dtype == "string":
            found[name] = data
            assert len(data) == int(np.prod(shape))
        else:
            whole = frames[data] if isinstance(data, int) else data
            found[name] = np.frombuffer(whole, _NUMPY.get(dtype, dtype)).reshape(shape)
    return found


def differs(answer: Fields, frames: Sequence[bytes] = (), **rights: Array | list[bytes]) -> str:
    """What of an answer is not as it has to be, to the bit."""
    if "error" in answer:
        return f"{answer['status']}: {answer['error']}"
    found = outputs(answer, frames)
    for name, right in rights.items():
        got = found.get(name)
        if isinstance(right, list) or not isinstance(got, np.ndarray):
            if got != right:
                return f"{name} {got!r}, not {right!r}"
        elif got.shape != right.shape or got.dtype != right.dtype or got.tobytes() != right.tobytes():
            return f"{name} {got!r}, not {right!r}"
    return "" if len(found) == len(rights) else f"outputs {list(found)}"


class ZmqClient:
    """Of one socket; ends with its `with`."""

    def __init__(
        self, address: str, kind: int = zmq.DEALER, identity: bytes = b"", keys: Sequence[bytes] = (), **options: int
    ) -> None:
        """`keys`: the server's public key, and the client's public and secret ones; `options`: of the socket."""
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        self.socket.sndtimeo = round(PATIENCE * 1000)
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        if identity:
            self.socket.setsockopt(zmq.ROUTING_ID, identity)
        if keys:
            self.socket.curve_serverkey, self.socket.curve_publickey, self.socket.curve_secretkey = keys
        self.socket.connect(address)
        self._last = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()
        self.context.term()

    def send(self, message: Any, *frames: bytes | memoryview) -> None:
        """Bytes as they are, anything else as MessagePack."""
        header = message if isinstance(message, bytes) else msgpack.packb(message, unicode_errors="surrogateescape")
        self.socket.send_multipart([header, *frames])

    def receive(self, seconds: float = PATIENCE) -> tuple[Any, list[bytes]]:
        """The next message: its header unpacked, and its frames."""
        assert self.socket.poll(round(seconds * 1000)), f"no answer in {seconds} s"
        header, *frames = self.socket.recv_multipart()
        return msgpack.unpackb(header, unicode_errors="surrogateescape"), frames

    def nothing_comes(self, seconds: float) -> bool:
        return not self.socket.poll(round(seconds * 1000))

    def ask(self, message: Any, *frames: bytes | memoryview) -> Any:
        """The answer to a message, without its frames."""
        self.send(message, *frames)
        return self.receive()[0]

    def predict(self, model: str, /, *frames: bytes, **fields: Any) -> dict[str, Array | list[bytes]]:
        """The outputs of one request, whose inputs are those of the fields that are arrays or lists of bytes."""
        inputs = {name: value for name, value in fields.items() if isinstance(value, np.ndarray | list)}
        rest = {name: value for name, value in fields.items() if name not in inputs}
        self._last += 1
        self.send({**predicting(model, inputs, **rest), "id": self._last}, *frames)
        answer, got = self.receive()
        assert answer["id"] == self._last, answer
        return outputs(answer, got)

    def gather(self, count: int, seconds: float = PATIENCE) -> list[Fields]:
        """So many answers, those of one message one by one."""
        found: list[Fields] = []
        give_up = time.monotonic() + seconds
        while len(found) < count:
            message, frames = self.receive(max(give_up - time.monotonic(), 0))
            for answer in message if isinstance(message, list) else [message]:
                for output in answer.get("outputs", ()):
                    if isinstance(output[3], int):
                        output[3] = frames[output[3]]
                found.append(answer)
        assert len(found) == count
        return found
