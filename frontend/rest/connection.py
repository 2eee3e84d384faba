"""A client's connection: aiohttp's protocol, with a short way for inference requests that have come as a whole.

aiohttp starts a task for each request and wakes a second one. A request whose body came with its head, as nearly all small
ones do, needs neither: it is decoded and put into its lane in the turn in which its bytes arrive, and answered in the turn
in which the worker's doorbell is heard. Everything else (large bodies, other paths, HTTP/1.0, errors of HTTP itself) goes
aiohttp's way.

While a request is on the short way, aiohttp's own loop is kept asleep: the future that it waits for is out of its reach.

Of a request whose head is known (`known_heads.py`), aiohttp's parser sees nothing at all. Many clients send the body behind
the head, in a piece of its own: such a request is held for a moment, to be taken as a whole.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod
from aiohttp.web_protocol import RequestHandler

from frontend.rest.compression import MOST_AT_ONCE, compressed
from frontend.rest.exchange import Exchange
from frontend.rest.held_request import MOST_HELD, HeldRequest
from frontend.rest.http_reply import HttpReply, head, write
from frontend.rest.known_heads import Boundary, KnownHead, plain_target
from frontend.rest.reply import Reply, page
from frontend.rest.site import Site
from frontend.rest.stall_watch import StallWatch
from ringserve.errors import ServingError

_logger = logging.getLogger(__name__)

_REQUEST_LINE: Final = re.compile(r"[A-Za-z]{1,20} [^ ]+ HTTP/1")  # in aiohttp's text: HTTP, but for its verb

KEEP_ALIVE_SECONDS: Final = 75.0
#: Of a body that its reader has not taken yet; at twice that much reading stops. With aiohttp's 64 KiB it stops and goes on
#: with each piece that the loop reads.
_READ_BYTES: Final = 512 << 10
_MOST_UNSENT: Final = 64 << 10  # bytes of former answers, beyond which a client's next request waits


class Connection(RequestHandler):
    """One request at a time, in the order in which they came."""

    __slots__ = ("_boundary", "_drained", "_exchange", "_held", "_parked", "_site", "_stall", "_waiting", "miscounted")

    def __init__(self, server: web.Server, site: Site, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._site = site
        self._exchange: Exchange | None = None  # the one that is on the short way
        self._waiting: asyncio.Task[None] | None = None  # for what it can't be told of
        self._parked: asyncio.Future[None] | None = None  # what aiohttp's loop waits for, meanwhile
        self._drained: asyncio.Future[None] | None = None  # there is none on the short way any more
        self._stall = StallWatch(self._loop)
        self._boundary = Boundary(site.heads)
        self._held = HeldRequest(self._loop)
        self.miscounted = False  # has the parser perhaps, since a request was taken before its body was whole?

    def data_received(self, data: bytes) -> None:
        held = self._held.data
        waiter = self._waiter
        is_next = waiter is not None and not waiter.done() and not self._messages  # none before it, not even about to begin
        if is_next and self._boundary.reached and self._is_ready:
            whole = held + data
            known, end = self._site.heads.find(whole)
            if known is not None:
                missing = end + known.length - len(whole)
                if not missing:
                    if held:
                        self._held.take()
                    self._take(known, whole[end:])
                    return
                if 0 < missing <= known.length <= MOST_HELD:
                    self._held.hold(whole, self._give_up_holding)
                    return
        if held:
            self._parse(self._held.take())  # by itself: what comes behind may be no HTTP, for which this is not to blame
        self._parse(data)

    def _take(self, known: KnownHead, body: bytes) -> None:
        self._parked, self._waiter = self._waiter, None
        self._begin(Exchange(self._site, known.target, known.headers, time.monotonic_ns()), body)

    def _give_up_holding(self) -> None:
        """The parser's, whatever comes next."""
        if self._held.data:
            self._parse(self._held.take())

    def _process_keepalive(self) -> None:
        """aiohttp's timer: who has sent a part of a request is not idle."""
        self._give_up_holding()
        super()._process_keepalive()

    def _parse(self, data: bytes) -> None:
        waiting = len(self._messages)
        waiter, self._waiter = self._waiter, None  # aiohttp's loop is not to be woken for what goes the short way
        try:
            super().data_received(data)
            self._boundary.passed(data, self._messages, waiting)
        finally:
            self._waiter = waiter
        self._advance()

    def refill(self) -> None:
        """Parse what the parser has kept back, when no request waits. It stops at so many requests that nobody has taken,
        and may have counted wrong.
        """
        if not self._messages and self._parser is not None:
            super().data_received(b"")

    def resume_reading(self, resume_parser: bool = True) -> None:
        """After each read of a body; nothing to do where reading was not stopped, which aiohttp finds out the long way."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def _advance(self) -> None:
        """Begin with the oldest request that has come, if there is one: nobody is being answered."""
        while self._messages and self._waiter is not None and not self._waiter.done():
            message: Any
            message, payload = self._messages[0]
            target = self._short(message, payload)
            if target is None:
                self._waiter.set_result(None)
                return
            self._messages.popleft()
            self._parked, self._waiter = self._waiter, None
            self._consumed()  # only now: it may bring more requests, whose turn it is not
            self._begin(Exchange(self._site, target, message.headers, time.monotonic_ns()), payload.read_nowait())

    def _short(self, message: Any, payload: Any) -> Any:
        """What the request asks for, if it can go the short way; else None."""
        if not self._is_ready or not payload.is_eof() or payload.exception() is not None:
            return None
        return plain_target(message)

    @property
    def _is_ready(self) -> bool:
        """Is there a client that takes its answers? For one that is slow to do so aiohttp waits."""
        transport = self.transport
        return transport is not None and not self._paused and transport.get_write_buffer_size() <= _MOST_UNSENT

    def _consumed(self) -> None:
        """The parser may go on, where it stopped for many requests that wait."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _begin(self, exchange: Exchange, body: bytes) -> None:
        self._exchange = exchange
        if exchange.is_heavy(body):
            self._waiting = self._loop.create_task(self._run(exchange, body))
            return
        try:
            exchange.read(body)
            if exchange.can_be_told:
                exchange.submit(self._told)
            else:
                self._waiting = self._loop.create_task(self._run(exchange))
        except Exception as error:
            self._exchange = None
            self._send(exchange.failed(error))

    def _told(self, error: ServingError | None) -> None:
        """The request on the short way is completed, or has ended in an error. Raises nothing: others are told next."""
        exchange = self._exchange
        try:
            assert exchange is not None
            reply = exchange.reply() if error is None else exchange.failed(error)
            if reply is None:
                self._waiting = self._loop.create_task(self._run(exchange))
                return
            self._exchange = None
            coding = exchange.coding(reply)
            if coding is None:
                self._send(reply)
            elif len(reply.body) <= MOST_AT_ONCE:
                self._send(compressed(reply, coding))
            else:
                self._waiting = self._loop.create_task(self._compress(reply, coding))
        except Exception:
            self._fail()

    async def _run(self, exchange: Exchange, body: bytes | None = None) -> None:
        running = exchange.run(body)
        del body  # which is let go once its inputs are in the lane
        try:
            reply = await running
            self._exchange = None
            coding = exchange.coding(reply)
            if coding is None:
                self._send(reply)
            else:
                await self._compress(reply, coding)
        except Exception:
            self._fail()

    async def _compress(self, reply: Reply, coding: str) -> None:
        try:
            self._send(await self._loop.run_in_executor(None, compressed, reply, coding))
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """There is no answer, for a reason that nobody foresaw: better none than one that belongs to another request."""
        _logger.exception("an answer could not be sent")
        if self.transport is not None:
            self.transport.abort()

    def _send(self, reply: Reply) -> None:
        """The answer of the request on the short way, and on with the next."""
        self._waiting = None
        transport = self.transport
        if transport is not None and not transport.is_closing():
            write(transport, head(reply), reply.body)
        if self.miscounted:
            self.refill()
        waiter, self._parked = self._parked, None
        self._waiter = waiter
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._close or self._force_close:
            if waiter is not None:
                waiter.cancel()
            return
        closing = self._loop.time() + self._keepalive_timeout
        self._next_keepalive_close_time = closing
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(closing, self._process_keepalive)
        if self._messages:  # sent before it had an answer: not from within the lane's or its own turn
            self._loop.call_soon(self._advance)

    def pause_writing(self) -> None:
        """The client takes its answers too slowly."""
        super().pause_writing()
        if self.transport is not None:
            self._stall.begin(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall.end()

    def connection_lost(self, exc: BaseException | None) -> None:
        """A client that goes away frees its place in the lane."""
        self._stall.end()
        self._held.take()
        self._give_up()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        """The request on the short way, if there is one, gets no answer."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._parked is not None:
            self._waiter, self._parked = self._parked, None

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Finish what has begun, for as long as `timeout` lets it (in s), and close."""
        self._give_up_holding()
        if self._parked is not None:
            until = self._loop.time() + (timeout or 0)
            self._drained = self._loop.create_future()
            await asyncio.wait([self._drained], timeout=timeout)
            if timeout is not None:
                timeout = max(until - self._loop.time(), 0)
            if self._parked is not None:
                self._give_up()
                if self._waiter is not None:
                    self._waiter.cancel()
        await super().shutdown(timeout)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP gets upstream's page, and no line in the log: a port scanner's would fill it."""
        if isinstance(exc, BadHttpMethod) and _REQUEST_LINE.search(exc.message):
            status = 501
        if status >= 500:
            self.log_exception("Error handling a request", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun already")
        return HttpReply(page(HTTPStatus(status)))


class Connections(web.Server):
    """Makes a `Connection` for each client."""

    def __init__(self, handler: Callable[[Any], Any], site: Site, **settings: Any) -> None:
        super().__init__(handler, handler_cancellation=True, **settings)
        self._connection = functools.partial(
            Connection,
            self,
            site,
            loop=self._loop,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            read_bufsize=_READ_BYTES,
            auto_decompress=False,  # which also takes incomplete bodies
        )

    def __call__(self) -> RequestHandler:
        return self._connection()
