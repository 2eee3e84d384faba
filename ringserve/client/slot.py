"""Memory for a request that is made in place, and for its answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from ringserve.client.answers import Array


class Slot(Protocol):
    """Write to `inputs`, `run`, read `outputs`; and again. Used by one thread at a time, as a context manager."""

    @property
    def inputs(self) -> Mapping[str, Array]:
        """By alias, with the signature's types and shapes, rows first: to be written to."""

    @property
    def outputs(self) -> Mapping[str, Array]:
        """By alias: of the last `run`, until the next one or the end of the block. Empty before the first."""

    def run(self, timeout: float | None = None) -> None:
        """Waits for the answer. Raises ServingError as `Transport.call`.

        `timeout`: in seconds, `math.inf` for no limit, None: the client's. ValueError where `deadline.limit` has it.
        """

    def close(self) -> None:
        """The arrays mean nothing afterwards. Again: does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
