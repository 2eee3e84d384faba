"""A platform whose loads wait until a file lets them go on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ringserve.loader import Loader
from ringserve.servable import Array
from ringserve.signature import DEFAULT_SIGNATURE, Signature

OPEN = "open"


class Halves:
    """x / 2 + 2"""

    def __init__(self) -> None:
        self.signatures = {DEFAULT_SIGNATURE: Signature.of(inputs={"x": ("float", (-1,))}, outputs={"y": ("float", (-1,))})}

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"y": inputs["x"] / np.float32(2) + np.float32(2)}


class GatedLoader(Loader):
    """Loads as soon as the version's folder holds a file `open`."""

    def load(self) -> Halves:
        while not Path(self.path, OPEN).exists():
            time.sleep(0.01)
        return Halves()
