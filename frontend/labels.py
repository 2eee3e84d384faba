"""Version labels: a label names one version, or splits its requests among several by weight."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Container, Sequence
from hashlib import blake2b
from typing import Any, Final

_HASH_BYTES: Final = 8
_HASHES: Final = 1 << 8 * _HASH_BYTES


class Label:
    """The versions behind one label of a model, with their `weights`.

    Each version draws a number, from the request's key or from chance, and the one with the smallest -ln(number) / weight
    gets the request: each wins with the share of its weight. Drawing by key depends on nothing but model, label, key and
    version, so a key gets the same version from every front end, after restarts too; and when one version's weight
    changes, keys move to it or away from it, never between others. (One point on a line of weights would move them.)
    """

    def __init__(
        self, model: str, label: str, split: Sequence[tuple[int, float]], chance: Callable[[], float] = random.random
    ) -> None:
        """`split`: versions with weights, of which at least one is positive; `chance`: a number in [0, 1)."""
        self.weights = {version: weight for version, weight in split if weight > 0}
        if not self.weights:
            raise ValueError(f"label {label} of model {model} has no version with a weight")
        self._only = next(iter(self.weights)) if len(self.weights) == 1 else None
        self._hashes = {version: _hash_of(model, label, version) for version in self.weights}
        self._chance = chance

    def pick(self, key: str | None, loaded: Container[int]) -> int:
        """The version for a request; one that is not `loaded` only if none of the label's is. `key` None: by chance."""
        if self._only is not None:
            return self._only
        candidates = [version for version in self.weights if version in loaded] or list(self.weights)
        if key is None:
            return min(candidates, key=self._draw)
        written = key.encode("utf-8", "surrogateescape")  # as it came over HTTP
        return min(candidates, key=lambda version: self._draw_by(version, written))

    def _draw(self, version: int) -> float:
        return -math.log(1.0 - self._chance()) / self.weights[version]

    def _draw_by(self, version: int, key: bytes) -> float:
        digest = self._hashes[version].copy()
        digest.update(key)
        number = (int.from_bytes(digest.digest(), "little") + 1) / _HASHES  # in (0, 1]
        return -math.log(number) / self.weights[version]


def _hash_of(model: str, label: str, version: int) -> Any:
    """A hash that only wants a key. The lengths keep apart what would read the same in one piece."""
    return blake2b(f"{len(model)}:{model}{len(label)}:{label}{version}:".encode(), digest_size=_HASH_BYTES)
