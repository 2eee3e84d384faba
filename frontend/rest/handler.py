"""Requests that aiohttp hands over one by one: those whose body comes in pieces, and all that are no inference."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Final

from aiohttp import web

from frontend.catalog import ModelSpec
from frontend.failure import as_serving_error
from frontend.rest.compression import MOST_AT_ONCE, compressed, wanted
from frontend.rest.connection import Connection
from frontend.rest.exchange import Exchange, http_status, is_binary, with_key
from frontend.rest.health import respond
from frontend.rest.http_reply import HttpReply
from frontend.rest.index_page import index_reply
from frontend.rest.openapi import openapi_reply
from frontend.rest.reply import JSON, Reply, error_reply, page
from frontend.rest.request_reader import read_body
from frontend.rest.site import Site
from frontend.rest.status import metadata_body, status_body
from frontend.rest.target import INFERENCE, Target, VersionError, is_ours, origin_form, parse_target
from ringserve.errors import Code, ServingError

_TEXT: Final = "text/plain"
_CLEAN_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))
_NO_MODEL: Final = ModelSpec("")


class Handler:
    """Every answer to a `/v1/` path is JSON, errors too; nothing that a client sends gets an exception's page."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._front_end = site.front_end

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request to its reply, whatever they are: aiohttp's entry."""
        if not request.content.is_eof() and isinstance(request.protocol, Connection):
            request.protocol.miscounted = True
        reply = await self._reply(request)
        coding = wanted(reply, request.headers)
        if coding is None:
            return HttpReply(reply)
        if len(reply.body) <= MOST_AT_ONCE:
            return HttpReply(compressed(reply, coding))
        return HttpReply(await asyncio.get_running_loop().run_in_executor(None, compressed, reply, coding))

    async def _reply(self, request: web.BaseRequest) -> Reply:
        # As it was sent: upstream's expressions match it with its query.
        method, path = request.method, origin_form(request.raw_path)
        if method != "POST" and method not in _METHODS:
            return self._site.dressed(page(HTTPStatus.NOT_IMPLEMENTED), request.headers, cors=False)
        prometheus_path = self._front_end.prometheus_path
        if prometheus_path is not None and path.partition("?")[0] == prometheus_path:
            return await self._prometheus(path)
        if is_ours(path):
            return await self._api(request, method, path)
        return await self._own(request, method, path)

    async def _api(self, request: web.BaseRequest, method: str, path: str) -> Reply:
        """Whatever begins with /v1/."""
        began = time.monotonic_ns()
        target = None
        try:
            if method == "OPTIONS":
                reply = _preflight(request)
                code = Code.OK if reply.status == 200 else Code.FAILED_PRECONDITION
                return self._counted(reply, _NO_MODEL, began, request, code)
            target = parse_target(method, path)
            assert target is not None  # the path is the API's
            if target.what in INFERENCE:
                return await self._infer(request, target, began)
            return self._counted(await self._look_up(target, request), target.spec, began, request)
        except Exception as error:
            spec = target.spec if target is not None else _NO_MODEL
            return self._counted(_error_reply(error), spec, began, request, as_serving_error(error).code)

    async def _infer(self, request: web.BaseRequest, target: Target, began: int) -> Reply:
        """Its time counts from the last byte of its body on, which a slow client may send late."""
        site, headers = self._site, request.headers
        with site.bodies.lease() as lease:
            try:
                body = await read_body(request, site.most_bytes, lease, is_binary(target, headers))
            except Exception as error:
                reply = Exchange(site, target, headers, began).failed(error)
                return reply._replace(closes=not request.content.is_eof())  # what is left of the body is in the way
            running = Exchange(site, target, headers, time.monotonic_ns()).run(body)
            del body  # which is let go once its inputs are in the lane
            return await running

    async def _look_up(self, target: Target, request: web.BaseRequest) -> Reply:
        """Raises ServingError."""
        catalog = self._front_end.catalog
        if target.what == "openapi":
            prometheus_path = self._front_end.prometheus_path
            return await openapi_reply(catalog, ("/metrics", *([prometheus_path] if prometheus_path else [])))
        if target.what == "status":
            return Reply(status_body(catalog.status(target.spec.name, target.spec.version)))
        with catalog.servable_handle(with_key(target.spec, request.headers)) as version:
            return Reply(metadata_body(version))

    async def _own(self, request: web.BaseRequest, method: str, path: str) -> Reply:
        """What TensorFlow Serving does not have."""
        target = parse_target(method, path)
        if target is None:
            return self._site.dressed(page(HTTPStatus.NOT_FOUND), request.headers, cors=False)
        front_end = self._front_end
        if target.what == "metrics":
            reply = await self._metrics("clean", _CLEAN_TEXT)
        elif target.what == "health":
            reply = respond(path, front_end.catalog, front_end.stopping.is_set()) or page(HTTPStatus.NOT_FOUND)
        else:
            reply = await index_reply(front_end.catalog, await front_end.batching())
        return self._site.dressed(reply, request.headers, cors=False)

    async def _prometheus(self, path: str) -> Reply:
        """The page with upstream's names, with any verb; a query is refused, as upstream does."""
        wanted_path = self._front_end.prometheus_path
        if path != wanted_path:
            text = f"Unexpected path: {path}. Should be {wanted_path}"
            return Reply(text.encode("utf-8", "surrogateescape"), 400, _TEXT)
        return await self._metrics("upstream", _TEXT)

    async def _metrics(self, kind: str, content_type: str) -> Reply:
        try:
            text = await self._front_end.metrics(kind)
        except ServingError as error:
            return Reply(f"{error.message}\n".encode(), 503, _TEXT, (("Retry-After", "1"),))
        return Reply(text.encode(), 200, content_type)

    def _counted(self, reply: Reply, spec: ModelSpec, began: int, request: web.BaseRequest, code: Code = Code.OK) -> Reply:
        """Upstream counts every request to `/v1/`, also those that ask for no inference."""
        meter = self._front_end.counters.meter(spec.name, None, "", "", "REST")
        took = time.monotonic_ns() - began
        if code is Code.OK:
            meter.ok(0, 0, took)
        else:
            meter.failed(code, took)
        return self._site.dressed(reply, request.headers)


def _error_reply(error: Exception) -> Reply:
    if isinstance(error, VersionError):
        return Reply(b"", 400, JSON)
    return error_reply(as_serving_error(error), http_status(error))


def _preflight(request: web.BaseRequest) -> Reply:
    """OPTIONS: 200 for a browser's preflight, 400 for anything else, as upstream."""
    origin = request.headers.get("Origin", "")
    return Reply(b"", 200 if "http://" in origin or "https://" in origin else 400, _PREFLIGHT_TYPE)


_PREFLIGHT_TYPE: Final = "text/html; charset=ISO-8859-1"  # libevent's default, which upstream leaves in place
