"""One version's way through its life: a state machine around its loader."""

from __future__ import annotations

import enum
import logging
from typing import Final

from manager.event_bus import EventBus, ServableState
from manager.version_loader import VersionLoader
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State

_logger = logging.getLogger(__name__)


class HarnessState(enum.Enum):
    """Upstream's states, by its names."""

    NEW = "new"
    LOAD_REQUESTED = "load-requested"
    LOAD_APPROVED = "load-approved"
    LOADING = "loading"
    READY = "ready"
    UNLOAD_REQUESTED = "unload-requested"
    QUIESCING = "quiescing"
    QUIESCED = "quiesced"
    UNLOADING = "unloading"
    DISABLED = "disabled"
    ERROR = "error"


_NEXT: Final = {
    HarnessState.NEW: {HarnessState.LOAD_REQUESTED},
    HarnessState.LOAD_REQUESTED: {HarnessState.LOAD_APPROVED},
    HarnessState.LOAD_APPROVED: {HarnessState.LOADING},
    HarnessState.LOADING: {HarnessState.READY, HarnessState.UNLOADING},  # unloading: cancelled, and loaded all the same
    HarnessState.READY: {HarnessState.UNLOAD_REQUESTED},
    HarnessState.UNLOAD_REQUESTED: {HarnessState.QUIESCING},
    HarnessState.QUIESCING: {HarnessState.QUIESCED},
    HarnessState.QUIESCED: {HarnessState.UNLOADING},
    HarnessState.UNLOADING: {HarnessState.DISABLED},
    HarnessState.DISABLED: set(),
    HarnessState.ERROR: {HarnessState.NEW},  # another attempt
}

CANCELLED: Final = ServingError(Code.CANCELLED, "Loading of servable cancelled")


class LoaderHarness:
    """Any state may turn into ERROR; every other step is in `_NEXT`. Whoever calls decides when; this decides whether."""

    def __init__(self, servable: ServableId, loader: VersionLoader | ServingError, bus: EventBus) -> None:
        self.id = servable
        self.aspired = True
        self.state = HarnessState.NEW
        self.attempts = 0  # to load it, since it was new or its files changed
        self.error: ServingError | None = None
        self.measured: int | None = None  # bytes that the load took, where that can be told
        self._bus = bus
        self._loader: VersionLoader | None = None
        if isinstance(loader, ServingError):
            self.fail(loader)
        else:
            self._loader = loader
            self._publish(State.START)

    @property
    def loader(self) -> VersionLoader | None:
        """None for a version that came with an error in its place."""
        return self._loader

    @property
    def finished(self) -> bool:
        """Holds nothing: it may be forgotten."""
        return self.state in (HarnessState.NEW, HarnessState.DISABLED, HarnessState.ERROR)

    def _publish(self, state: State, error: ServingError | None = None) -> None:
        self._bus.publish(ServableState(self.id, state, error))

    def _move(self, state: HarnessState) -> None:
        if state not in _NEXT[self.state]:
            text = f"Illegal request to transition from state {self.state.value} to {state.value}"
            raise ServingError(Code.INTERNAL, text)
        self.state = state

    def fail(self, error: ServingError) -> None:
        self.state = HarnessState.ERROR
        self.error = error
        level = logging.INFO if error is CANCELLED else logging.ERROR
        _logger.log(level, "Encountered an error for servable version %s: %s", self.id, error)
        self._publish(State.END, error)

    def renew(self) -> None:
        """Make a failed version new, for another attempt to load it."""
        self._move(HarnessState.NEW)
        self.error = None
        self._publish(State.START)

    def request_load(self) -> None:
        self._move(HarnessState.LOAD_REQUESTED)
        self.attempts += 1

    def approve_load(self) -> None:
        """Its resources are reserved."""
        self._move(HarnessState.LOAD_APPROVED)

    async def load(self) -> None:
        """On to READY, or ERROR. A version that nobody wants any more when it is loaded is unloaded at once."""
        self._move(HarnessState.LOADING)
        _logger.info("Loading servable version %s", self.id)
        self._publish(State.LOADING)
        assert self._loader is not None
        try:
            self.measured = await self._loader.load()
            if not self.aspired:
                self._move(HarnessState.UNLOADING)
                self._publish(State.UNLOADING)
                await self._loader.quiesce()
                await self._loader.unload()
                self.fail(CANCELLED)
                return
        except Exception as error:
            self.fail(as_serving_error(error))
            return
        self._move(HarnessState.READY)
        _logger.info("Successfully loaded servable version %s", self.id)
        self._publish(State.AVAILABLE)

    def request_unload(self) -> None:
        self._move(HarnessState.UNLOAD_REQUESTED)

    async def unload(self) -> None:
        """Wait for requests that have begun, and go on to DISABLED."""
        self._move(HarnessState.QUIESCING)
        self._publish(State.UNLOADING)
        _logger.info("Quiescing servable version %s", self.id)
        assert self._loader is not None
        try:
            await self._loader.quiesce()
            self._move(HarnessState.QUIESCED)
            _logger.info("Done quiescing servable version %s", self.id)
            self._move(HarnessState.UNLOADING)
            await self._loader.unload()
        except Exception as error:
            self.fail(as_serving_error(error))
            return
        self._move(HarnessState.DISABLED)
        _logger.info("Done unloading servable version %s", self.id)
        self._publish(State.END)


def as_serving_error(error: Exception) -> ServingError:
    """A loader may be anybody's: what it raises against its contract must not leave the version loading for ever."""
    if isinstance(error, ServingError):
        return error
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
