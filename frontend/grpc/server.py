"""The gRPC server: its services, the addresses that it listens on, and its end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from frontend.front_end import FrontEnd
from frontend.garbage import collect_rarely
from frontend.grpc.channel_options import channel_options
from frontend.grpc.completion_queue import CompletionQueue, reject
from frontend.grpc.credentials import server_credentials
from frontend.grpc.rpc import StreamRpc, UnaryRpc
from frontend.grpc.services import Services
from frontend.grpc.stream import Stream
from ringserve.errors import Code, ServingError
from ringserve.grpc_target import unix_target
from ringserve.options import ServerOptions

_DRAIN_SECONDS: Final = 25.0  # for calls that have begun; less than the supervisor waits
# The queue's thread and the loop's take turns: with Python's 5 ms, 32 callers at a time get an eighth less.
_SWITCH_SECONDS: Final = 0.0002
_STOPPING: Final = ServingError(Code.UNAVAILABLE, "The server is stopping")


class GrpcServer:
    """One in each front end."""

    def __init__(self, services: Services, options: ServerOptions) -> None:
        self._unary: Mapping[bytes, Callable[[UnaryRpc], None]] = services.unary
        self._streams: Mapping[bytes, Callable[[Stream], Awaitable[None]]] = services.streams
        self._open_streams: dict[asyncio.Task[None], StreamRpc] = {}
        self._stopping = False
        settings = channel_options(options.grpc_channel_arguments, options.max_request_bytes)
        self._queue = CompletionQueue(settings, self._arrived)

    def start(self, addresses: list[str], credentials: grpc.ServerCredentials) -> None:
        """Accept connections. Raises ServingError for an address that can't be had."""
        for address in addresses:
            self._queue.listen(address, credentials)
        self._queue.start()

    def _arrived(self, event: Any) -> None:
        """A call has begun. In the queue's thread."""
        name = event.call_details.method
        begin = self._unary.get(name)
        if begin is not None:
            UnaryRpc(self._queue, event, begin)
            return
        stream = self._streams.get(name)
        if stream is not None:
            StreamRpc(self._queue, event, stream, self._begun)
            return
        reject(event.call, Code.UNIMPLEMENTED, b"Method not found!")

    def _begun(self, rpc: StreamRpc, task: asyncio.Task[None]) -> None:
        self._open_streams[task] = rpc
        task.add_done_callback(self._open_streams.pop)
        if self._stopping:
            rpc.close(_STOPPING)

    async def stop(self) -> None:
        """Answer what has begun: streams are read no further."""
        self._stopping = True
        for rpc in self._open_streams.values():
            rpc.close(_STOPPING)
        await self._queue.stop(_DRAIN_SECONDS)


async def serve(front_end: FrontEnd, index: int, options: ServerOptions) -> None:
    """Accept calls once the supervisor says so, until it says stop; then finish what has begun.

    `index`: the first front end listens on the UNIX socket too, which can't be shared.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(options.grpc_max_threads, "heavy work"))
    server = GrpcServer(Services(front_end, options), options)
    if not await front_end.may_open():
        return
    try:
        server.start(_addresses(index, options), server_credentials(front_end.ssl, options.use_alts_credentials))
    except ServingError as error:
        front_end.listening(error)
        await front_end.stopping.wait()
        return
    front_end.listening()
    collect_rarely()
    await front_end.stopping.wait()
    await server.stop()


def _addresses(index: int, options: ServerOptions) -> list[str]:
    addresses = [f"[::]:{options.port}"] if options.port else []  # gRPC takes IPv4's alone where there is no IPv6
    if options.grpc_socket_path and index == 0:
        addresses.append(unix_target(options.grpc_socket_path))
    return addresses
