"""The REST server: connections on a socket that the supervisor bound."""

from __future__ import annotations

import logging
import socket
from typing import Final

import numpy as np
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from frontend.front_end import FrontEnd
from frontend.garbage import collect_rarely
from frontend.rest.connection import Connections
from frontend.rest.handler import Handler
from frontend.rest.site import Site
from ringserve.options import ServerOptions

_DRAIN_SECONDS: Final = 25.0  # for requests that have begun; less than the supervisor waits


async def serve(front_end: FrontEnd, listener: socket.socket, options: ServerOptions) -> None:
    """Accept connections once the supervisor says so, until it says stop; then finish what has begun."""
    np.seterr(all="ignore")  # a number too large for float32 becomes infinite, as upstream's; no warning about it
    logging.getLogger("aiohttp.server").addFilter(_is_no_clients_fault)
    site = Site(front_end, options)
    # The low-level server, without routes and middlewares: they would take a seventh of a small request's time.
    runner = web.ServerRunner(Connections(Handler(site).handle, site), shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    if await front_end.may_open():
        await web.SockSite(runner, listener, backlog=1024).start()
        front_end.listening()
        collect_rarely()
        await front_end.stopping.wait()
    await runner.cleanup()


def _is_no_clients_fault(record: logging.LogRecord) -> bool:
    """aiohttp logs a traceback for each request that is no HTTP: a port scanner's would fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)
