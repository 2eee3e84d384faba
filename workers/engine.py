"""What a worker needs of a loaded version: say what it can be asked, run it. TensorFlow's sessions are such versions.

A version is loaded in a background thread and runs in the worker's threads, several at once; it may block, and should
release the interpreter lock while it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from ringserve.signature import Signature
from shm.layout import Column
from shm.packed import PackedTensor

#: The inputs of requests whose rows have columns: TensorFlow's dtype number and the column, for each.
Inputs = tuple[tuple[int, Column], ...]
#: A stretch of rows to write answers to: how many, and the address of the first in each output column.
Target = tuple[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Form:
    """The rows of a lane, as an engine sees them: TensorFlow's dtype number and the column, for each tensor."""

    inputs: Inputs
    outputs: tuple[tuple[int, Column], ...]


class Answers(Protocol):
    """The outputs of one run; their memory is the engine's and valid inside the `with` block only."""

    def __enter__(self) -> Sequence[PackedTensor]: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class RowFunction(Protocol):
    """A signature made ready to run rows of one form. Used by one thread at a time."""

    def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        """Run `rows` rows: `sources` are the addresses of the first row of each input.

        The answers go, in order, to the targets, whose rows add up to `rows`, or fewer: what is beyond them is nobody's.
        False, and nothing written, when the outputs are not `rows` rows of the form. Raises ServingError.
        """


class LoadedVersion(Protocol):
    """A servable version in memory."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...

    @property
    def metadata(self) -> Any:
        """The signatures as the metadata request shows them: JSON-able."""

    def changes_state(self, signature: str) -> bool:
        """May a run change what later runs find (a variable, a table, a file)? Then only clients' requests are run."""

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Answers:
        """Run one request of any shape: a tensor per input, in the signature's order. Raises ServingError.

        `inline`: in the calling thread, where the engine can, instead of the engine's own pool.
        """

    def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction: ...
