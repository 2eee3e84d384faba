"""Requests that a version brought along to be warmed up with, a few of each signature: samples of what clients send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shm.packed import PackedTensor

_MOST_REQUESTS: Final = 8  # of a signature
_MOST_BYTES: Final = 1 << 20  # of a request


class RecordedRequests:
    """By signature; in the order in which they were recorded."""

    def __init__(self) -> None:
        self._requests: dict[str, list[Sequence[PackedTensor]]] = {}

    def add(self, signature: str, tensors: Sequence[PackedTensor]) -> None:
        """Keep a copy, if there are few yet."""
        kept = self._requests.setdefault(signature, [])
        if len(kept) < _MOST_REQUESTS and sum(len(tensor.data) for tensor in tensors) <= _MOST_BYTES:
            kept.append([PackedTensor(dtype, shape, bytes(data)) for dtype, shape, data in tensors])

    def of(self, signature: str) -> Sequence[Sequence[PackedTensor]]:
        return self._requests.get(signature, ())
