"""The whole server as the admin socket sees it."""

from __future__ import annotations

from typing import Any

from manager.description import Description
from manager.explanation import Explanation
from manager.reload_outcome import ModelOutcome
from manager.server_core import ServerCore
from ringserve.channel import Message


class Administration:
    """Implements `manager.administered.Administered`: what can be changed, and what there is to see."""

    def __init__(self, core: ServerCore, description: Description, explanation: Explanation) -> None:
        self._core = core
        self._description = description
        self._explanation = explanation

    def config(self) -> Any:
        return self._core.config()

    async def reload(self, config: Any, timeout: float | None = None) -> list[ModelOutcome]:
        return await self._core.reload(config, timeout)

    async def reload_file(self, path: str | None, timeout: float | None = None) -> list[ModelOutcome]:
        return await self._core.reload_file(path, timeout)

    def describe(self) -> Message:
        return self._description.describe()

    async def explain(self, model: str, seconds: float) -> Message:
        return await self._explanation.model(model, seconds)
