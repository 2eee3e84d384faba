"""One model as the server describes it: what is held, and whether what was asked for has come or gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manager.administered import Administered
from ringserve.errors import Code, ServingError
from ringserve.servable import State


class ModelView:
    """Looks anew with each call. A model that isn't there has no versions. `version` None stands for any."""

    def __init__(self, administered: Administered, name: str) -> None:
        self._administered = administered
        self.name = name

    def entry(self) -> dict[str, Any] | None:
        """The whole description of the model."""
        models = self._administered.describe()["models"]
        return next((model for model in models if model["name"] == self.name), None)

    def versions(self, version: int | None = None) -> list[dict[str, Any]]:
        model = self.entry()
        return [entry for entry in model["versions"] if version in (None, entry["version"])] if model else []

    def held(self) -> list[int]:
        """The versions that are to be served; not one that still is, until another has come in its place."""
        return [entry["version"] for entry in self.versions() if entry["aspired"]]

    def since(self) -> dict[int, float]:
        """Since when each version is as it is."""
        return {entry["version"]: entry["since"] for entry in self.versions()}

    def has_come(self, version: int | None, before: Mapping[int, float] | None) -> bool:
        """Is it AVAILABLE? Raises ServingError when it has failed, or nothing is found.

        `before`: what `since` said earlier. A failure of that time may not be the last word, nor that nothing is found;
        with None they are.
        """
        model = self.entry()
        entries = self.versions(version)
        if any(entry["state"] == State.AVAILABLE.name for entry in entries):
            return True
        failed = [entry for entry in entries if has_failed(entry) and (before or {}).get(entry["version"]) != entry["since"]]
        if failed and len(failed) == len(entries):
            text = f"version {failed[0]['version']} of model {self.name}: {failed[0]['error_message']}"
            raise ServingError(Code[failed[0]["error_code"]], text)
        trouble = model["trouble"] if model else None
        if trouble and before is None and all(_ended(entry) for entry in entries):
            raise ServingError(Code.FAILED_PRECONDITION, f"model {self.name} has no version to serve: {trouble}")
        return False

    def has_gone(self, version: int | None) -> bool:
        return all(_ended(entry) for entry in self.versions(version))

    def lateness(self, version: int | None) -> str:
        """Why `has_come` is not true yet, for people."""
        entries = self.versions(version)
        if not entries:
            return f"no {'version' if version is None else f'version {version}'} of model {self.name} has been found"
        reason = f" ({entries[0]['error_message']})" if entries[0]["error_message"] else ""
        return f"version {entries[0]['version']} of model {self.name} is {entries[0]['state']}{reason}"


def has_ended(model: Mapping[str, Any]) -> bool:
    """Is it of the past: not configured any more, and nothing of it left?"""
    return not model["policy"] and all(map(_ended, model["versions"]))


def _ended(entry: Mapping[str, Any]) -> bool:
    return bool(entry["state"] == State.END.name)


def has_failed(entry: Mapping[str, Any]) -> bool:
    return _ended(entry) and entry["error_code"] not in ("", Code.OK.name)
