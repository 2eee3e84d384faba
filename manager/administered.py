"""What the admin socket and the metrics need of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ringserve.channel import Message

if TYPE_CHECKING:
    from manager.reload_outcome import ModelOutcome


class Administered(Protocol):
    """A server that can be looked at and changed."""

    def config(self) -> Any:
        """A copy of the present ModelServerConfig message, the caller's to edit."""

    async def reload(self, config: Any, timeout: float | None = None) -> list[ModelOutcome]:
        """Take another config, all of it or nothing, and wait for what comes of it, `timeout` seconds at most.

        Raises ServingError when it is refused.
        """

    async def reload_file(self, path: str | None, timeout: float | None = None) -> list[ModelOutcome]:
        """Take the config in this file, or (None) in the server's own, likewise.

        Raises ServingError also when the file can't be read, or the server has none.
        """

    def describe(self) -> Message:
        """All models, with their versions' states, and all processes, as they are now, in values that JSON has."""

    async def explain(self, model: str, seconds: float) -> Message:
        """The model's loaded versions, with why requests are batched or not, as workers tell within `seconds`; likewise."""
