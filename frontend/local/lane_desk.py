"""Where lanes for local clients come from: a version that is pinned, and the supervisor, who makes the lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from frontend.catalog import Catalog, ModelSpec, Version
from frontend.front_end import FrontEnd
from frontend.local.client_lane import ClientLane
from frontend.local.wanted_rows import Rows, WantedForms, read_rows
from frontend.model_facts import asked_spec, specs
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.handle import ServableHandle
from ringserve.signature import DEFAULT_SIGNATURE, Signature


class OpenedLane(NamedTuple):
    """`terms`: what the client is told of the lane; `fds`: its segment and the client's end of its bell."""

    lane: ClientLane
    terms: Message
    fds: Sequence[int]


class LaneDesk:
    """Asked by all clients."""

    def __init__(self, front_end: FrontEnd, most_request_bytes: int) -> None:
        self._front_end = front_end
        self._most_request_bytes = most_request_bytes
        self._forms = WantedForms()

    @property
    def catalog(self) -> Catalog:
        return self._front_end.catalog

    @property
    def stopping(self) -> bool:
        return self._front_end.stopping.is_set()

    async def open(self, message: Message) -> OpenedLane:
        """The lane that a client's message asks for; its descriptors are the caller's then. Raises ServingError.

        Not to be cancelled: what the supervisor hands over meanwhile would be nobody's.
        """
        if self.stopping:
            raise ServingError(Code.UNAVAILABLE, "The server is stopping")
        wanted = asked_spec(message)
        name = message.get("signature") or DEFAULT_SIGNATURE
        if not isinstance(name, str):
            raise ServingError(Code.INVALID_ARGUMENT, "signature: expected text")
        handle = self.catalog.servable_handle(wanted)
        try:
            signature = _signature(name, handle.servable)
            rows = read_rows(message.get("inputs"), signature, self._most_request_bytes)
            self._forms.note(handle.servable, name, rows)
            return await self._order(wanted, handle, signature, rows)
        except BaseException:
            handle.release()
            raise

    async def _order(
        self, wanted: ModelSpec, handle: ServableHandle[Version], signature: Signature, rows: Rows | None
    ) -> OpenedLane:
        order = {"type": "local_lane", "servable": handle.id, "signature": signature.name, "inputs": rows}
        told = await self._front_end.ask(order)
        if told.get("code"):
            raise ServingError(Code(told["code"]), told["message"])
        terms = {name: told[name] for name in ("lane", "columns", "ring_bytes", "most_rows")}
        terms |= {"model": handle.id.name, "version": handle.id.version, "signature": signature.name}
        lane = ClientLane(told["lane"], told["worker"], wanted, handle)
        return OpenedLane(lane, {**terms, "specs": specs(signature)}, told["fds"])

    def has_worker(self, lane: ClientLane) -> bool:
        """Is the process that it leads to still there? One that has taken its place knows nothing of the lane."""
        return not self._front_end.is_avoided(lane.worker, lane.handle.id)

    def drop(self, lane: ClientLane) -> None:
        """A lane that no client has any more."""
        self._front_end.tell({"type": "drop_local", "lane": lane.number})
        lane.close()


def _signature(name: str, version: Version) -> Signature:
    """Raises ServingError (FAILED_PRECONDITION), in the words that gRPC's Predict has."""
    found = version.signatures.get(name)
    if found is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return found
