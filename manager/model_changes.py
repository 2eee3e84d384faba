"""Changes to the server's config, and the wait for what comes of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from ringserve.errors import Code, ServingError

if TYPE_CHECKING:
    from manager.reload_outcome import ModelOutcome

#: Has the server take another config and wait for what comes of it, so many seconds at most.
Reload: TypeAlias = "Callable[[float], Awaitable[list[ModelOutcome]]]"

_logger = logging.getLogger(__name__)

_GRACE_SECONDS: Final = 1.0  # for the server's own answer to a wait that took as long as was allowed
_POLL_SECONDS: Final = 0.05
_SHORTEST: Final = 0.001  # 0 would be no limit


class Deadline:
    """A moment in the time of the running loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = asyncio.get_running_loop().time() + seconds

    @property
    def left(self) -> float:
        """Seconds, from 0."""
        return max(0.0, self._end - asyncio.get_running_loop().time())


class ModelChanges:
    """A change that has begun goes on when whoever asked for it has gone, or waits no longer."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[list[ModelOutcome]]] = set()

    async def apply(self, reload: Reload, deadline: Deadline) -> list[ModelOutcome]:
        """Have the server take another config. Raises ServingError when it is refused, or takes too long."""
        task = asyncio.get_running_loop().create_task(self._reload(reload, deadline))
        self._under_way.add(task)
        task.add_done_callback(self._finish)
        await asyncio.wait([task], timeout=deadline.seconds + _GRACE_SECONDS)
        if not task.done():
            text = f"the change is not complete after {deadline.seconds:g} s; it goes on"
            raise ServingError(Code.DEADLINE_EXCEEDED, text)
        return task.result()

    @staticmethod
    async def _reload(reload: Reload, deadline: Deadline) -> list[ModelOutcome]:
        return await reload(max(deadline.left, _SHORTEST))

    def _finish(self, task: asyncio.Task[list[ModelOutcome]]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # whoever asked may have gone: then it is said nowhere else
            _logger.warning("a change of the models was refused: %s", error)

    async def wait(self, come: Callable[[float], bool], late: Callable[[], str], deadline: Deadline) -> None:
        """Until `come`, which gets the seconds waited so far, is true; raises what it raises.

        Raises ServingError (DEADLINE_EXCEEDED) with the text of `late` when that takes too long.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not come(loop.time() - began):
            if not deadline.left:
                raise ServingError(Code.DEADLINE_EXCEEDED, f"{late()} after {deadline.seconds:g} s")
            await asyncio.sleep(min(_POLL_SECONDS, deadline.left))

    async def close(self) -> None:
        """Wait no longer for what is under way: the server ends."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
