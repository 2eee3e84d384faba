"""A REST request, from its line and body to its answer."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final

from aiohttp import web

from frontend.catalog import ModelSpec
from frontend.endpoint import TooLargeError
from frontend.front_end import FrontEnd
from frontend.rest.predict_answer import encode_answer
from frontend.rest.predict_body import PredictBody
from frontend.rest.replies import error_reply, page, reply
from frontend.rest.status import metadata_body, status_body
from frontend.rest.target import Target, VersionError, is_ours, parse_target
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions

_logger = logging.getLogger(__name__)

_PROMETHEUS: Final = {"Content-Type": "text/plain; version=0.0.4"}
_METHODS: Final = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))


class Handler:
    """Every answer to a `/v1/` path is JSON, errors too; nothing that a client sends gets an exception's page."""

    def __init__(self, front_end: FrontEnd, options: ServerOptions) -> None:
        self._front_end = front_end
        self._timeout = options.rest_api_timeout_in_ms * 1_000_000
        self._most_bytes = options.max_request_bytes

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The entry: a request line and a body to an answer, whatever they are."""
        try:
            target = _target(request)
            if isinstance(target, web.Response):
                return target
            if target.what == "predict":
                return await self._predict(request, target.spec)
            if target.what == "metrics":
                return await self._metrics()
            return reply(request, self._look_up(target, request))
        except Exception as error:
            return self._error(request, error)

    def _error(self, request: web.BaseRequest, error: Exception) -> web.Response:
        if isinstance(error, VersionError):
            return web.Response(status=400, content_type="application/json")
        if isinstance(error, ServingError):
            return error_reply(error, 413 if isinstance(error, TooLargeError) else None)
        if isinstance(error, web.HTTPRequestEntityTooLarge):
            text = f"The request's body is larger than {self._most_bytes} bytes, the limit set by --max_request_bytes"
            return error_reply(ServingError(Code.RESOURCE_EXHAUSTED, text), 413)
        _logger.error("a request failed in a way it never should: %s", request.method, exc_info=error)
        return error_reply(ServingError(Code.INTERNAL, "The server failed on this request; its log says how"))

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole body, when it has come. One that announces itself as too large is refused before it is read."""
        if not request.content.is_eof():
            if (request.content_length or 0) > self._most_bytes:
                raise web.HTTPRequestEntityTooLarge(self._most_bytes, request.content_length or 0)
            if request.headers.get("Expect", "").lower() == "100-continue":  # curl waits for it, before large bodies
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # the answer itself has not begun
        try:
            return await request.read()
        except web.RequestPayloadError:
            return b""  # not compressed as it says: upstream takes that for an empty body too

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self._most_bytes:
            raise web.HTTPRequestEntityTooLarge(self._most_bytes, len(body))
        return body

    async def _predict(self, request: web.BaseRequest, spec: ModelSpec) -> web.StreamResponse:
        """decode → resolve → submit → await → encode."""
        content = request.content
        if content.is_eof() and content.exception() is None:  # it came with its head, as small ones do: no need to wait
            body = self._checked(content.read_nowait())
        else:
            body = await self._body(request)
        call = PredictBody(body)
        if spec.label is not None:
            spec = _with_key(spec, request)
        with self._front_end.catalog.servable_handle(spec) as version:
            try:
                endpoint = version.endpoint(call.signature_name)
            except KeyError:
                text = f'Serving signature name: "{call.signature_name}" not found in signature def'
                raise ServingError(Code.INVALID_ARGUMENT, text) from None
            tensors, rows = call.tensors(endpoint.signature)
            if not endpoint.base:
                await endpoint.open(self._timeout)
            pending = self._front_end.submit(endpoint, tensors, self._timeout)
            try:
                await pending.future
                return reply(request, encode_answer(endpoint.signature.outputs, endpoint.answer(pending), rows))
            finally:
                pending.done()

    def _look_up(self, target: Target, request: web.BaseRequest) -> bytes:
        catalog = self._front_end.catalog
        if target.what == "status":
            return status_body(catalog.status(target.spec.name, target.spec.version))
        if target.what == "metadata":
            with catalog.servable_handle(_with_key(target.spec, request)) as version:
                return metadata_body(version)
        raise ServingError(Code.UNIMPLEMENTED, f"This version does not serve :{target.what} over REST; use :predict")

    async def _metrics(self) -> web.Response:
        try:
            text = await self._front_end.metrics()
        except ServingError as error:
            return web.Response(status=503, text=f"{error.message}\n")
        return web.Response(body=text.encode(), headers=_PROMETHEUS)


def _with_key(spec: ModelSpec, request: web.BaseRequest) -> ModelSpec:
    """A label may split its requests: those with the same key go the same way."""
    return spec._replace(key=request.headers.get("X-Ringserve-Key") or None) if spec.label is not None else spec


def _target(request: web.BaseRequest) -> Target | web.Response:
    """What is asked for; an answer where HTTP itself has one already. Raises ServingError for a malformed path."""
    method, path = request.method, request.raw_path  # as it was sent: upstream's expressions match it with its query
    if method != "POST" and method not in _METHODS:
        return page(HTTPStatus.NOT_IMPLEMENTED)
    if method == "OPTIONS" and is_ours(path):
        return _preflight(request)
    return parse_target(method, path) or page(HTTPStatus.NOT_FOUND)


def _preflight(request: web.BaseRequest) -> web.Response:
    """OPTIONS: 200 for a browser's preflight, 400 for anything else, as upstream."""
    origin = request.headers.get("Origin", "")
    return web.Response(status=200 if "http://" in origin or "https://" in origin else 400)
