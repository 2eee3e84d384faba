"""What a client's calls return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from ringserve.errors import Code, ServingError
from ringserve.servable import State
from ringserve.signature import Signature

Array = npt.NDArray[Any]


class Source(NamedTuple):
    """Who answered: the model's name, the version and the signature that were used."""

    model: str
    version: int
    signature: str


class _Sourced:
    """An answer that knows who gave it."""

    source: Source

    @property
    def model(self) -> str:
        return self.source.model

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def signature(self) -> str:
        return self.source.signature


class Prediction(dict[str, Array], _Sourced):
    """Output arrays by alias. They are the caller's own, to write to as well; strings are object arrays of bytes."""

    def __init__(self, outputs: Iterable[tuple[str, Array]], source: Source) -> None:
        super().__init__(outputs)
        self.source = source


class Predictions(dict[str, Array], _Sourced):
    """Output arrays by alias, with a row for each request. Rows of requests that are in `errors` mean nothing."""

    def __init__(
        self, outputs: Iterable[tuple[str, Array]], source: Source, errors: Mapping[int, ServingError] | None = None
    ) -> None:
        super().__init__(outputs)
        self.source = source
        #: By the request's index: those that have failed.
        self.errors: dict[int, ServingError] = dict(errors or {})


class Class(NamedTuple):
    """`label` is empty where the signature has no classes, `score` 0 where it has no scores."""

    label: str
    score: float


class Classification(list[list[Class]], _Sourced):
    """For each example its classes, in the model's order."""

    def __init__(self, rows: Iterable[list[Class]], source: Source) -> None:
        super().__init__(rows)
        self.source = source


class Regression(list[float], _Sourced):
    """A value for each example."""

    def __init__(self, values: Iterable[float], source: Source) -> None:
        super().__init__(values)
        self.source = source


class VersionState(NamedTuple):
    """Of one version: its state, and why it failed where `code` is not OK."""

    version: int
    state: State
    code: Code
    message: str


class Metadata(NamedTuple):
    """Of one version: its signatures by name."""

    model: str
    version: int
    signatures: Mapping[str, Signature]
