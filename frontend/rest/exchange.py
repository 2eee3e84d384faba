"""An inference request over HTTP, from its headers and body to its reply, whichever way they came."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache

from aiohttp import hdrs

from frontend.bodies.negotiation import answer_format, decoder
from frontend.call import Call, Stages
from frontend.catalog import ModelSpec
from frontend.endpoint import TooLargeError
from frontend.open_lane import Tell
from frontend.request_body import Answer, RequestBody
from frontend.rest.compression import wanted
from frontend.rest.example_body import ClassifyBody, RegressBody
from frontend.rest.predict_body import PredictBody
from frontend.rest.reply import Reply, SlowBodyError, TooLargeBodyError, error_reply
from frontend.rest.site import Site
from frontend.rest.target import Target
from ringserve.errors import Code, ServingError

_logger = logging.getLogger(__name__)


class Exchange:
    """`read` its body; `submit` it and `reply`, or `run` it. Its call is closed by `reply`, or by `cancel`."""

    __slots__ = ("_call", "_headers", "_site", "_target")

    def __init__(self, site: Site, target: Target, headers: Mapping[str, str], began: int) -> None:
        """`began`: ns of CLOCK_MONOTONIC."""
        self._site = site
        self._target = target
        self._headers = headers
        self._call = Call(site.front_end, with_key(target.spec, headers), target.what, "REST", site.timeout, began)

    def read(self, body: bytes | bytearray) -> None:
        """Decode and resolve; a body that `is_binary` may be any buffer. Raises ServingError."""
        site, headers, call = self._site, self._headers, self._call
        if len(body) > site.most_bytes:
            raise TooLargeBodyError(site.most_bytes)
        what = self._target.what
        answers = None
        request: RequestBody
        if what == "predict":
            decode = decoder(headers.get(hdrs.CONTENT_TYPE, ""), headers)
            accept = headers.get(hdrs.ACCEPT)
            if accept is not None and accept != "*/*":
                answers = answer_format(accept, headers, decode is None, site.body_options)
            if decode is None:
                request = PredictBody(bytes(body), site.check_method)
            else:
                request = decode(body, headers, call.spec, site.body_options)
                call.spec = getattr(request, "spec", call.spec)
                call.limit(getattr(request, "timeout", None))
        elif what == "classify":
            request = ClassifyBody(bytes(body), site.check_method, site.most_bytes)
        else:
            request = RegressBody(bytes(body), site.check_method, site.most_bytes)
        call.resolve(request, answers)

    @property
    def can_be_told(self) -> bool:
        """May `submit` be called, or has `run` to be awaited?"""
        return self._call.can_be_told

    def submit(self, tell: Tell) -> None:
        """Raises ServingError."""
        self._call.submit(tell)

    async def run(self) -> Reply:
        """Submit, wait and answer; raises nothing but what cancels it."""
        try:
            answer = await self._call.run()
        except Exception as error:
            return self.failed(error)
        except BaseException:
            self.cancel()
            raise
        return self._answered(answer)

    def reply(self) -> Reply:
        """The answer of a completed request."""
        try:
            answer = self._call.answer()
        except Exception as error:
            return self.failed(error)
        return self._answered(answer)

    def _answered(self, answer: Answer) -> Reply:
        call = self._call
        stages = call.stages
        call.close()
        headers = answer.headers if stages is None else (*answer.headers, ("Server-Timing", _timing(stages)))
        return self._site.dressed(Reply(answer.body, 200, answer.content_type, headers), self._headers)

    def failed(self, error: Exception) -> Reply:
        """The reply of a request that ends in this error."""
        serving = as_serving_error(error)
        self._call.close(serving.code)
        return self._site.dressed(error_reply(serving, http_status(error)), self._headers)

    def cancel(self) -> None:
        """The client went away."""
        self._call.close(Code.CANCELLED)

    def coding(self, reply: Reply) -> str | None:
        """How the client wants this reply's body compressed, if at all."""
        return wanted(reply, self._headers.get(hdrs.ACCEPT_ENCODING))


def is_binary(target: Target, headers: Mapping[str, str]) -> bool:
    """Is the body something else than JSON?"""
    return target.what == "predict" and decoder(headers.get(hdrs.CONTENT_TYPE, ""), headers) is not None


def http_status(error: Exception) -> int | None:
    """HTTP's own status of an error, where it has a better one than the code's."""
    if isinstance(error, TooLargeError | TooLargeBodyError):
        return 413
    return 408 if isinstance(error, SlowBodyError) else None


def as_serving_error(error: Exception) -> ServingError:
    """What a client is told of an error that nobody foresaw: no more than that there was one."""
    if isinstance(error, ServingError):
        return error
    _logger.error("a request failed in a way it never should", exc_info=error)
    return ServingError(Code.INTERNAL, "The server failed on this request; its log says how")


def with_key(spec: ModelSpec, headers: Mapping[str, str]) -> ModelSpec:
    """A label may split its requests: those with the same key go the same way."""
    return spec if spec.label is None else spec._replace(key=headers.get("X-Ringserve-Key") or None)


def _timing(stages: Stages) -> str:
    """As the Server-Timing header has it."""
    decode, queue, run, encode = stages
    decoded, queued, ran, encoded = _ms(decode // 1000), _ms(queue // 1000), _ms(run // 1000), _ms(encode // 1000)
    return f"decode;dur={decoded}, queue;dur={queued}, run;dur={ran}, encode;dur={encoded}"


@lru_cache(8192)  # formatting four numbers is 4 % of a small request's time; most of them come again and again
def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:.3f}"
