"""A client's connection: aiohttp's protocol, with a short way for inference requests that have come as a whole.

aiohttp starts a task for each request and wakes a second one. A request whose body came with its head, as nearly all small
ones do, needs neither: it is decoded and put into its lane in the turn in which its bytes arrive, and answered in the turn
in which the worker's doorbell is heard. Everything else (large bodies, other paths, HTTP/1.0, errors of HTTP itself) goes
aiohttp's way.

While a request is on the short way, aiohttp's own loop is kept asleep: the future that it waits for is out of its reach.
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

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import BadHttpMethod
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from frontend.rest.compression import MOST_AT_ONCE, compressed
from frontend.rest.exchange import Exchange
from frontend.rest.http_reply import HttpReply, head, write
from frontend.rest.reply import Reply, page
from frontend.rest.site import Site
from frontend.rest.target import INFERENCE, parse_target
from ringserve.errors import ServingError

_logger = logging.getLogger(__name__)

_REQUEST_LINE: Final = re.compile(r"[A-Za-z]{1,20} [^ ]+ HTTP/1")  # in aiohttp's text: HTTP, but for its verb

KEEP_ALIVE_SECONDS: Final = 75.0
STALLED_SECONDS: Final = 50.0  # without a byte taken by a client that is being answered: upstream's limit
#: Of a body that its reader has not taken yet; at twice that much reading stops. With aiohttp's 64 KiB it stops and goes on
#: with each piece that the loop reads.
_READ_BYTES: Final = 512 << 10
_MOST_UNSENT: Final = 64 << 10  # bytes of former answers, beyond which a client's next request waits


class Connection(RequestHandler):
    """One request at a time, in the order in which they came."""

    __slots__ = ("_drained", "_exchange", "_parked", "_site", "_stall", "_unsent", "_waiting", "miscounted")

    def __init__(self, server: web.Server, site: Site, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._site = site
        self._exchange: Exchange | None = None  # the one that is on the short way
        self._waiting: asyncio.Task[None] | None = None  # for what it can't be told of
        self._parked: asyncio.Future[None] | None = None  # what aiohttp's loop waits for, meanwhile
        self._drained: asyncio.Future[None] | None = None  # there is none on the short way any more
        self._stall: asyncio.TimerHandle | None = None
        self._unsent = 0
        self.miscounted = False  # has the parser perhaps, since a request was taken before its body was whole?

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # a request is being answered; or one is parsed already and about to be
            super().data_received(data)
            return
        self._waiter = None
        try:
            super().data_received(data)
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
        transport = self.transport
        if (
            type(message) is not RawRequestMessage
            or message.method != "POST"
            or message.should_close
            or message.version != HttpVersion11
            or message.upgrade
            or hdrs.CONTENT_ENCODING in message.headers
            or not payload.is_eof()
            or payload.exception() is not None
            or transport is None
            or self._paused  # the client is slow to take its answers: aiohttp waits for it
            or transport.get_write_buffer_size() > _MOST_UNSENT
        ):
            return None
        try:
            target = parse_target("POST", message.path)
        except ServingError:
            return None
        return target if target is not None and target.what in INFERENCE else None

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
        """The client takes its answers too slowly: it need not be fast, but it has to take some."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _watch(self) -> None:
        transport = self.transport
        if transport is not None:
            self._unsent = transport.get_write_buffer_size()
            self._stall = self._loop.call_later(STALLED_SECONDS, self._check_progress)

    def _check_progress(self) -> None:
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size() >= self._unsent:
            transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: BaseException | None) -> None:
        """A client that goes away frees its place in the lane."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
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
