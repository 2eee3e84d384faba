"""grpc.health.v1: what gRPC's own probes and load balancers are told.

Upstream says SERVING to its names from start to end, whatever becomes of the models; here every name tells how it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from frontend.catalog import Catalog
from frontend.grpc.request_message import request_message
from frontend.grpc.stream import Stream
from frontend.grpc.watched import Watched
from frontend.readiness import Readiness
from ringserve.errors import Code, ServingError

SERVICE: Final = "grpc.health.v1.Health"

#: Names of the whole server: the protocol's, and upstream's two, which are not qualified. They hide models of that name.
_SERVER: Final = ("", "ModelService", "PredictionService")
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3  # HealthCheckResponse.ServingStatus
_MOST_BYTES: Final = 1 << 14  # of a request, which is a name: a client can have many kept by watching them


class Health:
    """One in each front end.

    Models of which something changed are looked at once in a turn of the loop, however many changes and watchers there are.
    """

    def __init__(self, catalog: Catalog, stopping: asyncio.Event) -> None:
        self._catalog = catalog
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()
        self._changed: set[str] = set()  # models to look at
        self._lacking: set[str] = set()  # models because of which the server is not ready
        self._watched: dict[str, Watched] = {}
        self._until_stopping: asyncio.Task[None] | None = None  # while anything is watched
        self._note(catalog.names)
        catalog.listen(self._note)

    def check(self, request: bytes) -> bytes:
        """Check. Raises ServingError: NOT_FOUND, in upstream's words, for what is neither the server nor a model."""
        status = self._status(_name(request))
        if status == _SERVICE_UNKNOWN:
            raise ServingError(Code.NOT_FOUND, "service name unknown")
        return _answer(status)

    async def watch(self, stream: Stream) -> None:
        """Watch: the status now and every other one that follows, until the server stops. Raises ServingError."""
        request = await stream.read()
        if request is None:
            raise ServingError(Code.INVALID_ARGUMENT, "The call has no request")
        told = None
        with self._watching(_name(request)) as watched:
            while (told := await watched.other_than(told)) is not None:
                await stream.write(_answer(told))

    def list(self, request: bytes) -> bytes:
        """List: every name with its status.

        Raises ServingError: UNIMPLEMENTED where the installed grpcio-health-checking is older than this method.
        """
        messages = _messages()
        if not hasattr(messages, "HealthListRequest"):
            raise ServingError(Code.UNIMPLEMENTED, "Method not found!")
        request_message(messages.HealthListRequest, request, _MOST_BYTES)
        response = messages.HealthListResponse()
        for name in (*_SERVER, *self._catalog.names):
            status = self._status(name)
            if status != _SERVICE_UNKNOWN:
                response.statuses[name].status = status
        answer: bytes = response.SerializeToString()
        return answer

    def _status(self, name: str) -> int:
        if name in _SERVER:
            self._look()
            return _NOT_SERVING if self._lacking or self._stopping.is_set() else _SERVING
        readiness = Readiness.of(name, self._catalog)
        if readiness.gone:
            return _SERVICE_UNKNOWN
        return _SERVING if readiness.ready and not self._stopping.is_set() else _NOT_SERVING

    def _note(self, names: Collection[str]) -> None:
        """The catalog's word that something changed of these models."""
        if not self._changed:
            self._loop.call_soon(self._look)
        self._changed.update(names)

    def _look(self) -> None:
        """At the models of which something changed."""
        changed, self._changed = self._changed, set()
        for name in changed:
            if Readiness.of(name, self._catalog).is_lacking:
                self._lacking.add(name)
            else:
                self._lacking.discard(name)
        if changed and self._watched:
            self._put((_SERVER[0], *changed))

    def _put(self, names: Collection[str]) -> None:
        """Tell those who watch any of these how it is now."""
        for name in names:
            watched = self._watched.get(name)
            if watched is not None:
                watched.put(self._status(name))

    @contextmanager
    def _watching(self, name: str) -> Iterator[Watched]:
        name = _SERVER[0] if name in _SERVER else name
        if self._until_stopping is None:
            self._until_stopping = self._loop.create_task(self._tell_stopping())
        self._look()
        watched = self._watched.get(name)
        if watched is None:
            watched = self._watched[name] = Watched(self._status(name))
            if self._stopping.is_set():
                watched.close()
        watched.watchers += 1
        try:
            yield watched
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                del self._watched[name]
            if not self._watched:
                self._until_stopping.cancel()
                self._until_stopping = None

    async def _tell_stopping(self) -> None:
        await self._stopping.wait()
        self._put(tuple(self._watched))
        for watched in self._watched.values():
            watched.close()


def _messages() -> Any:
    from grpc_health.v1 import health_pb2  # noqa: PLC0415 - 20 ms, and most servers are never asked

    return health_pb2


def _name(request: bytes) -> str:
    name: str = request_message(_messages().HealthCheckRequest, request, _MOST_BYTES).service
    return name


def _answer(status: int) -> bytes:
    answer: bytes = _messages().HealthCheckResponse(status=status).SerializeToString()
    return answer
