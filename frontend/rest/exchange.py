"""An inference request over HTTP, from its headers and body to its reply, whichever way they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from aiohttp import hdrs

from frontend.bodies.asked import is_low_in_headers
from frontend.bodies.negotiation import answer_format, decoder, is_heavy
from frontend.call import Call
from frontend.catalog import ModelSpec
from frontend.endpoint import TooLargeError
from frontend.failure import as_serving_error
from frontend.heavy_work import HEAVY, in_thread, is_heavy_answer
from frontend.pending import Tell
from frontend.request_body import Answer, AnswerFormat, RequestBody
from frontend.rest.compression import wanted
from frontend.rest.example_body import ClassifyBody, RegressBody
from frontend.rest.predict_body import PredictBody
from frontend.rest.reply import Reply, SlowBodyError, TooLargeBodyError, error_reply
from frontend.rest.site import Site
from frontend.rest.target import Target
from frontend.tensors import Tensor
from ringserve.errors import Code

_TIMING: Final = "decode;dur=%s, queue;dur=%s, run;dur=%s, encode;dur=%s"


class Exchange:
    """`read` its body; `submit` it and `reply`, or `run` it. Its call is closed by `reply`, or by `cancel`."""

    __slots__ = ("_call", "_decoder", "_headers", "_site", "_target")

    def __init__(self, site: Site, target: Target, headers: Mapping[str, str], began: int) -> None:
        """`began`: ns of CLOCK_MONOTONIC."""
        self._site = site
        self._target = target
        self._headers = headers
        # Of a body that is not JSON.
        self._decoder = decoder(headers.get(hdrs.CONTENT_TYPE, ""), headers) if target.what == "predict" else None
        self._call = Call(site.front_end, with_key(target.spec, headers), target.what, "REST", site.timeout, began)

    def read(self, body: bytes | bytearray) -> None:
        """Decode and resolve; a body that `is_binary` may be any buffer. Inputs for which a few bytes of a message stand are
        left to `run`. Raises ServingError.
        """
        request, answers = self._decode(body)
        self._call.resolve(request, answers)
        if not request.heavy:
            self._call.read_inputs()

    def _decode(self, body: bytes | bytearray) -> tuple[RequestBody, AnswerFormat | None]:
        """Touches nothing but this exchange: it may run in another thread."""
        site, headers, call = self._site, self._headers, self._call
        if len(body) > site.most_bytes:
            raise TooLargeBodyError(site.most_bytes)
        call.low = is_low_in_headers(headers)
        what = self._target.what
        if what == "classify":
            return ClassifyBody(bytes(body), site.check_method, site.most_bytes), None
        if what == "regress":
            return RegressBody(bytes(body), site.check_method, site.most_bytes), None
        decode = self._decoder
        accept = headers.get(hdrs.ACCEPT)
        answers = None
        if accept is not None and accept != "*/*":
            answers = answer_format(accept, headers, decode is None, site.body_options)
        if decode is None:
            return PredictBody(bytes(body), site.check_method), answers
        request = decode(body, headers, call.spec, site.body_options)
        call.spec = request.spec
        call.limit(request.timeout)
        if request.low is not None:
            call.low = request.low
        return request, answers

    def is_heavy(self, body: bytes | bytearray) -> bool:
        """Would `read` hold up other requests for long?"""
        if self._decoder is not None:
            return is_heavy(self._headers.get(hdrs.CONTENT_TYPE, ""), body)
        return len(body) > HEAVY

    @property
    def can_be_told(self) -> bool:
        """May `submit` be called, or has `run` to be awaited?"""
        return self._call.can_be_told

    def submit(self, tell: Tell) -> None:
        """Raises ServingError."""
        self._call.submit(tell)

    async def run(self, body: bytes | bytearray | None = None) -> Reply:
        """All that has not been done yet, a `body` to be read included; long work in another thread.

        Raises nothing but what cancels it.
        """
        call = self._call
        try:
            if body is not None:
                if self.is_heavy(body):
                    request, answers = await in_thread(self._decode, body)
                    call.resolve(request, answers)
                    del body, request
                else:
                    self.read(body)
                    del body
            if not call.has_inputs:
                await in_thread(call.read_inputs)
            await call.run()
            outputs = call.read_outputs()
            return self._answered(await in_thread(call.encode) if self._is_slow(outputs) else call.encode())
        except Exception as error:
            return self.failed(error)
        except BaseException:
            self.cancel()
            raise

    def reply(self) -> Reply | None:
        """The answer of a completed request; None: it takes long, and is to be waited for with `run`."""
        call = self._call
        try:
            return None if self._is_slow(call.read_outputs()) else self._answered(call.encode())
        except Exception as error:
            return self.failed(error)

    def _is_slow(self, outputs: Sequence[Tensor]) -> bool:
        """Would their encoding hold up other requests for long? Bytes are copied, which takes 1 ms for several MB."""
        return self._decoder is None and is_heavy_answer(outputs)

    def _answered(self, answer: Answer) -> Reply:
        call = self._call
        body, content_type, headers, _ = answer
        decode, queue, run, encode = call.stages()
        call.close()
        timing = _TIMING % (_ms(decode // 1000), _ms(queue // 1000), _ms(run // 1000), _ms(encode // 1000))
        headers = (*headers, ("Server-Timing", timing)) if headers else (("Server-Timing", timing),)
        return self._site.dressed(Reply(body, 200, content_type, headers), self._headers)

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
        return wanted(reply, self._headers)


def is_binary(target: Target, headers: Mapping[str, str]) -> bool:
    """Is the body something else than JSON?"""
    return target.what == "predict" and decoder(headers.get(hdrs.CONTENT_TYPE, ""), headers) is not None


def http_status(error: Exception) -> int | None:
    """HTTP's own status of an error, where it has a better one than the code's."""
    if isinstance(error, TooLargeError | TooLargeBodyError):
        return 413
    return 408 if isinstance(error, SlowBodyError) else None


def with_key(spec: ModelSpec, headers: Mapping[str, str]) -> ModelSpec:
    """A label may split its requests: those with the same key go the same way."""
    return spec if spec.label is None else spec._replace(key=headers.get("X-Ringserve-Key") or None)


@lru_cache(8192)  # formatting four numbers is 4 % of a small request's time; most of them come again and again
def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:.3f}"
