"""A request on its way, the same for every protocol: decode → resolve → submit → run → encode."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from frontend.catalog import ModelSpec, Version
from frontend.endpoint import Endpoint
from frontend.open_lane import TIMED_OUT
from frontend.pending import Pending, Tell
from frontend.request_body import Answer, AnswerFormat, RequestBody
from ringserve.errors import Code, ServingError
from ringserve.handle import ServableHandle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frontend.front_end import FrontEnd
    from frontend.tensors import Tensor


class Call:
    """One inference request. `resolve` it, read its inputs, `submit` it, read its outputs, `encode` them; and `close`
    it, whatever happened."""

    __slots__ = (
        "_began",
        "_body",
        "_closed",
        "_encoded",
        "_endpoint",
        "_format",
        "_front_end",
        "_handle",
        "_inputs",
        "_outputs",
        "_pending",
        "_read",
        "_timeout",
        "api",
        "entrypoint",
        "low",
        "spec",
    )

    def __init__(self, front_end: FrontEnd, spec: ModelSpec, api: str, entrypoint: str, timeout: int, began: int) -> None:
        """`timeout` in ns from `began` on, 0: none; `began`: ns of CLOCK_MONOTONIC."""
        self.spec = spec
        self.api = api
        self.entrypoint = entrypoint
        self.low = False  # is it of low priority?
        self._front_end = front_end
        self._timeout = timeout
        self._began = began
        self._handle: ServableHandle[Version] | None = None
        self._endpoint: Endpoint | None = None
        self._inputs: Sequence[Tensor] = ()
        self._outputs: Sequence[Tensor] = ()
        self._body: RequestBody | None = None
        self._format: AnswerFormat | None = None
        self._pending: Pending | None = None
        self._read = self._encoded = 0
        self._closed = False

    def limit(self, timeout: int | None) -> None:
        """The client's own timeout, where it is the shorter one; in ns."""
        if timeout is not None and (timeout < self._timeout or not self._timeout):
            self._timeout = max(timeout, 1)

    def resolve(self, body: RequestBody, answer_format: AnswerFormat | None = None) -> None:
        """Pin the version and find the signature. Raises ServingError."""
        handle = self._handle = self._front_end.catalog.servable_handle(self.spec)
        version = handle.servable
        signature = body.signature(version.signatures)
        self._endpoint = version.endpoint(signature.name)
        self._body = body
        self._format = answer_format or body

    def read_inputs(self) -> None:
        """Those of the body, of a resolved request; may run in another thread. Raises ServingError."""
        assert self._endpoint is not None and self._body is not None
        self._inputs = self._body.inputs(self._endpoint.signature)
        self._body = None

    @property
    def has_inputs(self) -> bool:
        """Were they read?"""
        return self._body is None

    @property
    def can_be_told(self) -> bool:
        """May `submit` be called at once, and with `tell`? Otherwise `run` has to be awaited."""
        endpoint = self._endpoint
        return self._body is None and endpoint is not None and bool(endpoint.base) and not self._front_end.has_shadows

    def submit(self, tell: Tell | None = None) -> Pending:
        """Into a lane. Raises ServingError."""
        assert self._endpoint is not None
        if self._closed:  # given up while its lane was being opened
            raise ServingError(Code.CANCELLED, "The client went away")
        pending = self._pending = self._front_end.submit(self._endpoint, self._inputs, self._left(), tell=tell, low=self.low)
        self._inputs = ()  # what a large body held
        return pending

    def _left(self) -> int:
        """Of the timeout, in ns; 0: there is none. Raises ServingError when nothing is."""
        if self._timeout <= 0:
            return 0
        left = self._began + self._timeout - time.monotonic_ns()
        if left <= 0:
            raise ServingError(Code.DEADLINE_EXCEEDED, TIMED_OUT)
        return left

    async def run(self) -> None:
        """Submit, if that was not done, and wait for the completion. Raises ServingError."""
        assert self._endpoint is not None
        if self._pending is None:
            await self._endpoint.open(self._left())
            await self.submit().future

    def read_outputs(self) -> Sequence[Tensor]:
        """The completed request's: views of its lane, until `close`. Raises ServingError with the error that it ended in."""
        endpoint = self._endpoint
        assert endpoint is not None and self._pending is not None
        self._read = time.monotonic_ns()
        self._outputs = endpoint.answer(self._pending)
        return self._outputs

    def encode(self) -> Answer:
        """The outputs that were read, as the client wants them; may run in another thread. Raises ServingError."""
        endpoint = self._endpoint
        assert endpoint is not None and self._format is not None
        answer = self._format.encode(endpoint.servable, endpoint.signature, self._outputs)
        self._encoded = time.monotonic_ns()
        return answer

    def stages(self) -> tuple[int, int, int, int]:
        """How long a request that is encoded took, in ns: until it was in its lane, there, in its batch's run, and to write
        its answer.
        """
        pending = self._pending
        assert pending is not None
        submitted, begun, ended = pending.submitted, pending.begun, pending.ended
        return submitted - self._began, begun - submitted, ended - begun, self._encoded - self._read

    def close(self, code: Code = Code.OK) -> None:
        """Give everything back, and count the request with the code that it ended in; only the first time."""
        if self._closed:
            return
        self._closed = True
        self._outputs = ()  # no view outlives its slot
        pending, handle, endpoint = self._pending, self._handle, self._endpoint
        if pending is not None:
            pending.done()
        version = None
        if handle is not None:
            version = handle.id.version
            handle.release()
        signature = "" if endpoint is None else endpoint.signature.name
        meter = self._front_end.counters.meter(self.spec.name, version, signature, self.api, self.entrypoint)
        if code is Code.OK and pending is not None:
            meter.ok(pending.begun - pending.submitted, pending.ended - pending.begun, self._encoded - self._began)
        else:
            meter.failed(code, time.monotonic_ns() - self._began)
