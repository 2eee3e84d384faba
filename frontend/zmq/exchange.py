"""One request of a message, from its fields to its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from frontend.call import Call
from frontend.front_end import FrontEnd
from frontend.heavy_work import MANY_TEXTS
from frontend.inference_request import UNKNOWN, AskingMessage, InferenceRequest
from frontend.request_body import Answer
from frontend.tensors import Tensor
from frontend.zmq.reply import Reply, error_message
from ringserve.errors import ServingError


class Exchange(InferenceRequest):
    """`begin` it; its reply gets the answer."""

    __slots__ = ("_identifier", "_label_key", "_reply")

    def __init__(self, front_end: FrontEnd, api: str, timeout: int, identifier: Any, reply: Reply) -> None:
        """`timeout` in ns, 0: none."""
        super().__init__(Call(front_end, UNKNOWN, api, "ZMQ", timeout, time.monotonic_ns()))
        self._identifier = identifier
        self._label_key: str | None = None
        self._reply = reply

    def begin(self, body: AskingMessage, timeout: int | None, low: bool | None) -> None:
        """Resolve and submit it; `timeout`: the client's own, in ns; `low`: it is of low priority. Raises nothing."""
        self._label_key = body.spec.key
        call = self._call
        call.limit(timeout)
        call.low = bool(low)
        try:
            self._take(body)
        except Exception as error:
            self._fail(error)

    def refuse(self, error: Exception) -> None:
        """What it asks for can't be read."""
        self._fail(error)

    def _key(self) -> str | None:
        return self._label_key

    @staticmethod
    def _takes_long(outputs: Sequence[Tensor]) -> bool:
        """Numbers are only copied."""
        return any(isinstance(tensor.data, list) and len(tensor.data) > MANY_TEXTS for tensor in outputs)

    def _submit(self) -> None:
        self._call.submit(self._told)

    def _answer(self, answer: Answer) -> None:
        self._reply((answer.body, *answer.frames))

    def _refuse(self, error: ServingError) -> None:
        self._reply((error_message(self._identifier, error),))
