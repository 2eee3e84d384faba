"""What a client can ask, whatever the protocol: each kind of question is a class, and says what its answer is.

What callers pass has been checked and made plain when an operation is made: names have a UTF-8 form, a version is an int of
64 bits and excludes a label, a key can be a header, arrays have little-endian numbers (in any memory order).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ringserve.client.answers import Classification, Metadata, Prediction, Predictions, Regression, VersionState
from ringserve.client.tensors import Tensor

T = TypeVar("T")

#: A model, and its version or label.
Which = tuple[str, int | None, str | None]


class Operation(Generic[T]):
    """`T`: what its answer is."""

    __slots__ = ()


@dataclass(slots=True, eq=False)  # not frozen, which would take a µs for each request
class Predict(Operation[Prediction]):
    """`inputs`: by alias; `signature`: "" is the default one; `outputs`: only these, () for all; `key`: None is none;
    `low`: it is of low priority.
    """

    which: Which
    signature: str
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...] = ()
    key: str | None = None
    low: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PredictEach(Operation[Predictions]):
    """As `Predict`, but row i of every input is request i, of one row: its shape is [1, ...].

    There is an input, all are numeric, and all have the same first dimension, from 1 on.
    """

    which: Which
    signature: str
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...] = ()
    key: str | None = None
    low: bool = False

    @property
    def count(self) -> int:
        """Of requests."""
        for _, shape, _ in self.inputs.values():
            return int(shape[0])
        return 0


@dataclass(frozen=True, slots=True)
class Classify(Operation[Classification]):
    """`examples` and `context`: serialised tf.Examples; the context's features are those of all examples."""

    which: Which
    signature: str
    examples: tuple[bytes, ...]
    context: bytes | None = None
    key: str | None = None
    low: bool = False


@dataclass(frozen=True, slots=True)
class Regress(Operation[Regression]):
    """As `Classify`."""

    which: Which
    signature: str
    examples: tuple[bytes, ...]
    context: bytes | None = None
    key: str | None = None
    low: bool = False


@dataclass(frozen=True, slots=True)
class Status(Operation[list[VersionState]]):
    """Of every version that the server has known, or of one."""

    model: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class MetadataOf(Operation[Metadata]):
    """Of one version."""

    which: Which


@dataclass(frozen=True, slots=True)
class Models(Operation[list[str]]):
    """The names of those that the server has, sorted."""


@dataclass(frozen=True, slots=True)
class Ready(Operation[bool]):
    """Is the model served? "": is everything that is to be? What there is not is a NOT_FOUND or False."""

    model: str = ""
