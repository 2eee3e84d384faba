"""Shadows: versions that get copies of requests to other versions of their model, to see whether they answer alike.

Clients notice nothing: a copy is sent after its request, with low priority whatever the request's, never waited for, and
dropped where it would be in the way.
"""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from frontend.catalog import Catalog, ModelSpec, Version
from frontend.endpoint import Endpoint
from frontend.pending import Pending
from frontend.shadow_copy import Outcome, ShadowCopy, Submitted
from frontend.tensors import Tensor
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import Signature

_logger = logging.getLogger(__name__)

_MOST_OUTSTANDING: Final = 64  # copies at a time: each keeps two answers, and a slot of the shadow's lane
_REPORT_NS: Final = 1_000_000_000
_IN_THE_WAY: Final = (Code.UNAVAILABLE, Code.NOT_FOUND)  # the shadow's lane is full; it is not loaded


class Submit(Protocol):
    """How a copy gets into a lane: `FrontEnd.submit`."""

    def __call__(
        self, endpoint: Endpoint, inputs: Sequence[Tensor], timeout: int, copied: bool = True, *, low: bool = False
    ) -> Pending: ...


class Shadows:
    """All models' shadows, and what became of the copies since this process began."""

    def __init__(
        self,
        catalog: Catalog,
        submit: Submit,
        send: Callable[[Message], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`send` sends a message to the supervisor; `chance`: a number in [0, 1)."""
        self.rates: dict[str, list[tuple[int, float]]] = {}  # by model: (version, share of the requests)
        self._catalog = catalog
        self._submit = submit
        self._send = send
        self._chance = chance
        self._outstanding = 0
        self._counts: dict[ServableId, dict[Outcome, int]] = {}
        self._changed: set[ServableId] = set()
        self._reported = 0  # when, in ns of CLOCK_MONOTONIC

    def set_rates(self, model: str, rates: Sequence[tuple[int, float]]) -> None:
        """The model's shadows from now on."""
        if rates:
            self.rates[model] = [(version, rate) for version, rate in rates]
        else:
            self.rates.pop(model, None)

    def copy(self, endpoint: Endpoint, inputs: Sequence[Tensor], pending: Pending, timeout: int) -> None:
        """A request has been submitted: send a copy of it to each shadow that this one falls to. Raises nothing."""
        name, version = endpoint.servable
        for number, rate in self.rates.get(name, ()):
            if number != version and self._chance() < rate:
                shadow = ServableId(name, number)
                try:
                    if not self._send_copy(shadow, Submitted(endpoint, pending), inputs, timeout):
                        self._count(shadow, Outcome.DROPPED)
                except ServingError as error:
                    self._count(shadow, Outcome.DROPPED if error.code in _IN_THE_WAY else Outcome.FAILED)
                except Exception:
                    _logger.exception("a copy of a request to %s failed in a way it never should", shadow)
                    self._count(shadow, Outcome.FAILED)

    def _send_copy(self, shadow: ServableId, request: Submitted, inputs: Sequence[Tensor], timeout: int) -> bool:
        """Returns whether it was sent. Raises ServingError."""
        if self._outstanding >= _MOST_OUTSTANDING:
            return False
        handle = self._catalog.servable_handle(ModelSpec(shadow.name, shadow.version))
        pending = None
        try:
            endpoint = _counterpart(handle.servable, request.endpoint.signature)
            if endpoint is None:
                return False
            if not endpoint.base:
                endpoint.prepare()  # for copies to come
                return False
            pending = self._submit(endpoint, inputs, timeout, copied=False, low=True)
        finally:
            if pending is None:
                handle.release()
        self._outstanding += 1
        ShadowCopy(request, Submitted(endpoint, pending), handle, functools.partial(self._settle, shadow))
        return True

    def _settle(self, shadow: ServableId, outcome: Outcome) -> None:
        self._outstanding -= 1
        self._count(shadow, outcome)

    def _count(self, shadow: ServableId, outcome: Outcome) -> None:
        self._counts.setdefault(shadow, dict.fromkeys(Outcome, 0))[outcome] += 1
        self._changed.add(shadow)

    def report(self, now: int) -> None:
        """Send the supervisor the counts that have changed, once a second at most; `now` in ns of CLOCK_MONOTONIC."""
        if self._changed and now - self._reported >= _REPORT_NS:
            self._reported = now
            for shadow in self._changed:
                self._send({"type": "shadow_counts", **self._report_on(shadow)})
            self._changed.clear()

    def _report_on(self, shadow: ServableId) -> Message:
        counts = self._counts[shadow]
        return {
            "model": shadow.name,
            "version": shadow.version,
            "compared": counts[Outcome.ALIKE] + counts[Outcome.DIFFERED],
            "differed": counts[Outcome.DIFFERED],
            "failed": counts[Outcome.FAILED],
            "dropped": counts[Outcome.DROPPED],
        }


def _counterpart(version: Version, signature: Signature) -> Endpoint | None:
    """Where the shadow takes such requests: its signature of the same name, if it has the same inputs."""
    other = version.signatures.get(signature.name)
    if other is None or _inputs(other) != _inputs(signature):
        return None
    return version.endpoint(signature.name)


def _inputs(signature: Signature) -> list[Any]:
    """What clients see of them: the graph's names for its tensors may differ."""
    return [(spec.alias, spec.dtype, spec.shape) for spec in signature.inputs]
