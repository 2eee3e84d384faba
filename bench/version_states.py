"""The states of a model's versions, asked for over REST until they are what is waited for."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

States = Mapping[int, str]

AVAILABLE: Final = "AVAILABLE"
END: Final = "END"

_ANSWER_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02


def available(version: int) -> Callable[[States], bool]:
    """Is the version served?"""
    return lambda states: states.get(version) == AVAILABLE


def ended(version: int) -> Callable[[States], bool]:
    """Is the version gone, be it that servers forget it once it has ended?"""
    return lambda states: states.get(version, END) == END


def switched(old: int, new: int) -> Callable[[States], bool]:
    """Is the new version served, and the old one gone?"""
    served, gone = available(new), ended(old)
    return lambda states: served(states) and gone(states)


def changing(states: States) -> bool:
    """Is any version being loaded or unloaded?"""
    return any(state not in (AVAILABLE, END) for state in states.values())


def parse_states(body: bytes) -> States:
    """The states by version, as `GET /v1/models/NAME` tells them. Raises RuntimeError for a version that has failed."""
    states = {}
    for entry in json.loads(body)["model_version_status"]:
        if entry["status"]["error_code"] != "OK":
            raise RuntimeError(f"version {entry['version']} failed: {entry['status']['error_message']}")
        states[int(entry["version"])] = str(entry["state"])
    return states


class StatusClient:
    """One keep-alive connection to a server's status API; closed with the `with` block."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def states(self, model: str) -> States:
        """None of a model that no version was found of so far. Raises RuntimeError for any other error answer."""
        self._connection.request("GET", f"/v1/models/{quote(model, safe='')}")
        answer: Any = self._connection.getresponse()
        body = answer.read()
        if answer.status == 404:
            return {}
        if answer.status != 200:
            raise RuntimeError(f"the status of {model} was answered {answer.status} {body[:200]!r}")
        return parse_states(body)

    def until(
        self, model: str, done: Callable[[States], bool], seconds: float, watch: Callable[[States], None] | None = None
    ) -> States:
        """Ask until `done`; `watch` is shown every answer. Raises RuntimeError after `seconds`."""
        give_up = time.monotonic() + seconds
        while True:
            states = self.states(model)
            if watch is not None:
                watch(states)
            if done(states):
                return states
            if time.monotonic() >= give_up:
                raise RuntimeError(f"{model} did not get there within {seconds:g} s, it is {dict(states)}")
            time.sleep(_POLL_SECONDS)
