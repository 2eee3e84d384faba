"""A platform whose runs wait while a file holds them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ringserve.loader import Loader
from ringserve.servable import Array
from ringserve.signature import DEFAULT_SIGNATURE, Signature

HOLD = "hold"


class HeldHalves:
    """x / 2 + 2"""

    def __init__(self, folder: Path) -> None:
        self._hold = folder / HOLD
        self.signatures = {DEFAULT_SIGNATURE: Signature.of(inputs={"x": ("float", (-1,))}, outputs={"y": ("float", (-1,))})}

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        while self._hold.exists():
            time.sleep(0.01)
        return {"y": inputs["x"] / np.float32(2) + np.float32(2)}


class HeldLoader(Loader):
    """Its runs wait while the version's folder holds a file `hold`."""

    def load(self) -> HeldHalves:
        return HeldHalves(Path(self.path))
