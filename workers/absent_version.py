"""What stands in for a version that this worker ought to hold and can't load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringserve.errors import Code, ServingError
from ringserve.signature import Signature
from shm.packed import PackedTensor
from workers.engine import Answers, Form, RowFunction


class AbsentVersion:
    """Every run is an error. Implements `workers.engine.LoadedVersion`.

    The version's lanes were handed over from a worker that died: their requests are answered at once, and once nobody
    asks any more the version can be unloaded like any other.
    """

    signatures: Mapping[str, Signature] = {}
    metadata: Any = None

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def error(self) -> ServingError:
        return ServingError(Code.UNAVAILABLE, f"The version could not be loaded again after a crash: {self._reason}")

    def changes_state(self, signature: str) -> bool:
        return False

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Answers:
        raise self.error()

    def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
        raise self.error()
