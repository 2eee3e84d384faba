"""One version's way through its life: a state machine around its loader."""

from __future__ import annotations

import enum
import logging
from collections.abc import Coroutine
from typing import Any

from manager.event_bus import EventBus, ServableState
from ringserve.errors import Code, ServingError
from ringserve.loader import Loader
from ringserve.servable import ServableId, State

_logger = logging.getLogger(__name__)


class HarnessState(enum.Enum):
    """As upstream names them; resources are reserved and requests are drained in states of their own."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    QUIESCING = "quiescing"
    UNLOADING = "unloading"
    DISABLED = "disabled"
    ERROR = "error"


_NEXT = {
    HarnessState.NEW: {HarnessState.LOADING},
    HarnessState.LOADING: {HarnessState.READY},
    HarnessState.READY: {HarnessState.QUIESCING},
    HarnessState.QUIESCING: {HarnessState.UNLOADING},
    HarnessState.UNLOADING: {HarnessState.DISABLED},
    HarnessState.DISABLED: set(),
    HarnessState.ERROR: set(),
}


class LoaderHarness:
    """Any state may turn into ERROR; every other step is new → loading → ready → quiescing → unloading → disabled."""

    def __init__(self, servable: ServableId, loader: Loader | ServingError, bus: EventBus) -> None:
        self.id = servable
        self.aspired = True
        self.state = HarnessState.NEW
        self._bus = bus
        if isinstance(loader, ServingError):
            self.fail(loader)
        else:
            self._loader = loader
            bus.publish(ServableState(servable, State.START))

    @property
    def finished(self) -> bool:
        """Holds nothing: it may be forgotten."""
        return self.state in (HarnessState.NEW, HarnessState.DISABLED, HarnessState.ERROR)

    def _move(self, state: HarnessState) -> None:
        if state not in _NEXT[self.state]:
            text = f"Illegal request to transition from state {self.state.value} to {state.value}"
            raise ServingError(Code.INTERNAL, text)
        self.state = state

    def fail(self, error: ServingError) -> None:
        self.state = HarnessState.ERROR
        _logger.error("servable version %s: %s", self.id, error)
        self._bus.publish(ServableState(self.id, State.END, error))

    def load(self) -> Coroutine[Any, Any, None]:
        """Now to LOADING; what is returned goes on to READY or, with the event that says so, to ERROR."""
        self._move(HarnessState.LOADING)
        self._bus.publish(ServableState(self.id, State.LOADING))
        _logger.info("loading servable version %s", self.id)
        return self._load()

    async def _load(self) -> None:
        try:
            await self._loader.load()
        except Exception as error:
            self.fail(_as_serving_error(error))
            return
        self._move(HarnessState.READY)
        self._bus.publish(ServableState(self.id, State.AVAILABLE))

    def unload(self) -> Coroutine[Any, Any, None]:
        """Now to QUIESCING; what is returned waits for requests that have begun, and goes on to DISABLED."""
        self._move(HarnessState.QUIESCING)
        self._bus.publish(ServableState(self.id, State.UNLOADING))
        return self._unload()

    async def _unload(self) -> None:
        try:
            await self._loader.quiesce()
            self._move(HarnessState.UNLOADING)
            await self._loader.unload()
        except Exception as error:
            self.fail(_as_serving_error(error))
            return
        self._move(HarnessState.DISABLED)
        _logger.info("unloaded servable version %s", self.id)
        self._bus.publish(ServableState(self.id, State.END))


def _as_serving_error(error: Exception) -> ServingError:
    """A loader may be anybody's: what it raises against its contract must not leave the version loading for ever."""
    if isinstance(error, ServingError):
        return error
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
