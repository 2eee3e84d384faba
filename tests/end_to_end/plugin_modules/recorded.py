"""A platform that writes down each of its runs, and holds them while a file says so."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ringserve.loader import Loader
from ringserve.servable import Array
from ringserve.signature import DEFAULT_SIGNATURE, Signature

HOLD = "hold"
RUNS = "runs"


class RecordedHalves:
    """x / 2 + 2; of the signature `text`, upper case."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """`seconds`: that a run takes."""
        self._hold = folder / HOLD
        self._runs = folder / RUNS
        self._seconds = seconds
        self.signatures = {
            DEFAULT_SIGNATURE: Signature.of(inputs={"x": ("float", (-1,))}, outputs={"y": ("float", (-1,))}),
            "text": Signature.of(name="text", inputs={"x": ("string", (-1, -1))}, outputs={"y": ("string", (-1, -1))}),
        }

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        x = inputs["x"]
        is_text = signature == "text"
        rows = [[text.decode() for text in row] for row in x] if is_text else x.tolist()
        with self._runs.open("a") as file:  # a line is one write: runs of several threads do not mix
            file.write(json.dumps({"at": time.monotonic(), "rows": rows}) + "\n")
        time.sleep(self._seconds)
        while self._hold.exists():
            time.sleep(0.01)
        if is_text:
            return {"y": np.array([[text.upper() for text in row] for row in x], object)}
        return {"y": x / np.float32(2) + np.float32(2)}


class RecordedLoader(Loader):
    """Its runs take as long as the option `seconds` says, and wait while the version's folder holds a file `hold`; a file
    `runs` there has a line for each, as JSON, written when it begins.
    """

    def load(self) -> RecordedHalves:
        return RecordedHalves(Path(self.path), float(self.options.get("seconds", "0")))
