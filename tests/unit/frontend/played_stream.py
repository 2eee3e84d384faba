"""A stream whose client and transport the test plays, and its messages in a few words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from front_end_stage import Stage, until

from frontend.bodies.body_options import BodyOptions
from frontend.grpc.predict_stream import PredictStream
from ringserve.errors import Code
from ringserve.protos import message_module
from ringserve.streaming_messages import message_class
from ringserve.tensor import BY_NAME

Requests = message_class("StreamedRequests")
Request = message_class("StreamedRequest")
Results = message_class("StreamedResults")
PredictRequest = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest


def request(*values: float, model: str = "m", timeout_in_ms: int = 0, label: str | None = None) -> Any:
    """A StreamedRequest for one column of numbers."""
    made = Request(timeout_in_ms=timeout_in_ms)
    made.request.model_spec.name = model
    if label is not None:
        made.request.model_spec.version_label = label
    tensor = made.request.inputs["x"]
    tensor.dtype = BY_NAME["float"].number
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.float_val.extend(values)
    return made


def message(*requests: Any) -> bytes:
    """StreamedRequests."""
    serialised: bytes = Requests(requests=requests).SerializeToString()
    return serialised


class PlayedStream:
    """Implements `frontend.grpc.stream.Stream`."""

    def __init__(self, timeout: int = 0, metadata: dict[str, str] | None = None) -> None:
        self.timeout = timeout
        self.reads = 0
        self.written: list[bytes] = []
        self.takes = asyncio.Event()  # does the transport take messages?
        self.takes.set()
        self.writing = False
        self._metadata = metadata or {}
        self._sent: asyncio.Queue[bytes | None] = asyncio.Queue()

    def metadata(self, name: str) -> str | None:
        return self._metadata.get(name)

    async def read(self) -> bytes | None:
        self.reads += 1
        return await self._sent.get()

    async def write(self, message: bytes) -> None:
        assert not self.writing, "one message at a time"
        self.writing = True
        await self.takes.wait()
        await asyncio.sleep(0)
        self.written.append(message)
        self.writing = False

    def send(self, *requests: Any) -> None:
        """In one message."""
        self._sent.put_nowait(message(*requests))

    def send_bytes(self, message: bytes) -> None:
        self._sent.put_nowait(message)

    def half_close(self) -> None:
        self._sent.put_nowait(None)

    def results(self) -> list[Any]:
        """All that were written."""
        return [result for message in self.written for result in Results.FromString(message).results]

    def values(self) -> list[Sequence[float] | tuple[Code, str]]:
        """Of each result its numbers, or its error."""
        return [
            (Code(result.code), result.message) if result.code else list(result.response.outputs["y"].float_val)
            for result in self.results()
        ]

    async def answered(self, count: int) -> list[Sequence[float] | tuple[Code, str]]:
        """When so many results were written: what they are."""
        await until(lambda: len(self.results()) >= count)
        return self.values()


@asynccontextmanager
async def conversation(
    on: Stage, timeout: int = 0, options: BodyOptions | None = None, metadata: dict[str, str] | None = None
) -> AsyncIterator[tuple[PlayedStream, asyncio.Task[None]]]:
    """The stream, and the handler's task; which is cancelled at the end, if it is not done."""
    stream = PlayedStream(timeout, metadata)
    handler = PredictStream(on.front_end, options or BodyOptions())
    task = asyncio.ensure_future(handler(stream))
    try:
        yield stream, task
    finally:
        task.cancel()
        await asyncio.wait([task])
