"""A request to the admin socket: its fields, each checked as it is read."""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

from manager.version_policy import is_version, parse_version
from ringserve.errors import Code, ServingError

_DEFAULT_TIMEOUT: Final = 60.0
_LONGEST_TIMEOUT: Final = 86400.0


class AdminRequest:
    """One JSON object. Every reader raises ServingError (INVALID_ARGUMENT) for a field of the wrong kind."""

    def __init__(self, line: bytes) -> None:
        try:
            fields = json.loads(line.decode())
        except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
            raise _invalid(f"the request is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise _invalid("the request is not a JSON object")
        self._fields: dict[str, Any] = fields
        self._read: set[str] = set()
        self.verb = self.text("verb")
        self.timeout = self._timeout()

    def text(self, name: str) -> str:
        """A text that has to be there."""
        value = self.optional_text(name)
        if value is None:
            raise _invalid(f"the request has no {name}")
        return value

    def optional_text(self, name: str) -> str | None:
        value = self._take(name)
        if value is None:
            return None
        # Control characters have no place in a name or a path, and a lone surrogate has no UTF-8 form.
        if not isinstance(value, str) or not value or not value.isprintable():
            raise _invalid(f"{name} is not a text of printable characters: {_shown(value)}")
        return value

    def version(self, name: str) -> int:
        """A version's number that has to be there."""
        value = self.optional_version(name)
        if value is None:
            raise _invalid(f"the request has no {name}")
        return value

    def optional_version(self, name: str) -> int | None:
        value = self._take(name)
        if value is not None and not is_version(value):
            raise _invalid(f"{name} is not the number of a version: {_shown(value)}")
        return cast(int | None, value)

    def number(self, name: str) -> float:
        """A finite number that has to be there."""
        value = self._take(name)
        if value is None:
            raise _invalid(f"the request has no {name}")
        return _finite(name, value)

    def weights(self, name: str) -> dict[int, float]:
        """`{"1": 95, "2": 5}`: versions with their shares, at least one."""
        value = self._take(name)
        if not isinstance(value, dict) or not value:
            raise _invalid(f"{name} is not an object of versions and their weights: {_shown(value)}")
        weights: dict[int, float] = {}
        for key, weight in value.items():
            version = parse_version(key)
            if version is None or version in weights:
                raise _invalid(f"{name} names no version, or one twice: {_shown(key)}")
            weights[version] = _finite(f"the weight of version {key}", weight)
        return weights

    def done(self) -> None:
        """Raises ServingError when there are fields that nobody has read: one misspelt would be silently ignored."""
        unknown = sorted(set(self._fields) - self._read)
        if unknown:
            raise _invalid(f"{self.verb} takes no {_shown(unknown[0])}")

    def _take(self, name: str) -> Any:
        self._read.add(name)
        return self._fields.get(name)

    def _timeout(self) -> float:
        value = self._take("timeout")
        seconds = _DEFAULT_TIMEOUT if value is None else _finite("timeout", value)
        if not 0 < seconds <= _LONGEST_TIMEOUT:
            raise _invalid(f"timeout is to be more than 0 s, and at most {_LONGEST_TIMEOUT:g} s, not {seconds:g}")
        return seconds


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"{name} is not a number: {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _invalid(f"{name} is not a finite number")
    return number


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
