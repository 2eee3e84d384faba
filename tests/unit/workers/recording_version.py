"""A servable version that keeps what it was asked to run, and answers nothing or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from ringserve.errors import ServingError
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME
from shm.packed import PackedTensor
from workers.engine import Answers, Form, RowFunction


def signature(
    name: str, method: str = "", outputs: Sequence[tuple[str, str]] = (("y", "float"),), **inputs: str
) -> Signature:
    """`inputs` and `outputs`: the type of each alias; all shapes are [-1]."""
    made = (
        tuple(TensorSpec(alias, f"{alias}:0", BY_NAME[dtype], (-1,)) for alias, dtype in sorted(specs))
        for specs in (inputs.items(), outputs)
    )
    return Signature(name, method, *made)


class RecordingVersion:
    """Implements `workers.engine.LoadedVersion`."""

    metadata: Any = None

    def __init__(self, *signatures: Signature, error: ServingError | None = None) -> None:
        self.signatures: Mapping[str, Signature] = {one.name: one for one in signatures}
        self.error = error
        self.changing: set[str] = set()
        self.runs: list[tuple[str, list[PackedTensor]]] = []

    def changes_state(self, signature: str) -> bool:
        return signature in self.changing

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Answers:
        assert not inline
        return _Run(self, signature, tensors)

    def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
        raise NotImplementedError


class _Run:
    def __init__(self, version: RecordingVersion, signature: str, tensors: Sequence[PackedTensor]) -> None:
        self._version = version
        self._what = (signature, [PackedTensor(tensor.dtype, tensor.shape, bytes(tensor.data)) for tensor in tensors])

    def __enter__(self) -> Sequence[PackedTensor]:
        self._version.runs.append(self._what)
        if self._version.error:
            raise self._version.error
        return []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass
