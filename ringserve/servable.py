"""Servables and their versions: what can be asked, and the names and states that every process shares."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from ringserve.signature import Signature

Array = npt.NDArray[Any]


class ServableId(NamedTuple):
    """One version of a servable; ordered by name, then version."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


class State(enum.IntEnum):
    """States of a version as the status API shows them; numbers as on TensorFlow Serving's wire."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Servable(Protocol):
    """A loaded version: anything a request can be run against. Used by several threads at once."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run the requests' rows: a batch in, a batch out, by the signature's aliases. Raises ServingError.

        Where an input's first dimension is unknown, rows of several requests may come together, and the outputs must have a
        row for each. Strings are object arrays of bytes. The inputs are the servable's to keep and to write to.
        """
