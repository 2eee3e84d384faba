"""The models of the comparison, what is asked of them, and the limits they are held to. All peers load the same files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench import half_plus_two as half
from bench.asked_rows import AskedRows
from bench.batch_models import DIGITS_CNN, RESNET, halves, image_network
from bench.exported_model import BUILD
from bench.peers import text_model

_REQUESTS: Final = 16  # different ones


@dataclass(frozen=True, slots=True)
class PeerModel:
    """`limit`: ms, for the 99th percentile; `clients`: each with one request of one row on its way, from few to many.

    `batch`, `wait`: rows at most, and ms for them to come together at most, where a peer has such settings.
    """

    name: str
    what: str
    limit: float
    clients: tuple[int, ...]
    batch: int
    wait: float
    made: Callable[[], tuple[Path, AskedRows]]
    is_image: bool = False
    is_large: bool = False  # runs for as long as hundreds of others take: measured longer

    def version(self) -> Path:
        """Its folder; made where it is not there. Raises RuntimeError when it can't be."""
        return self.made()[0] / "1"

    def rows(self) -> AskedRows:
        """What is asked, a row each time, and what is right."""
        rows = self.made()[1]
        return AskedRows(rows.model, rows.input, rows.inputs[:_REQUESTS], rows.answers[:_REQUESTS])

    def row(self, array: npt.NDArray[Any], index: int) -> npt.NDArray[Any]:
        """One of them, with the dimension of rows."""
        return np.ascontiguousarray(array[index : index + 1])


MODELS: Final = (
    PeerModel(
        *(half.NAME, "y = 0.5 x + 2, one number", 50.0, (1, 8, 32, 128), 64, 1.0),
        lambda: (half.half_plus_two(BUILD), halves()),
    ),
    PeerModel(
        *(DIGITS_CNN, "two convolutions, 28x28 bytes, 1.2 million weights", 100.0, (1, 8, 32, 128), 64, 2.0),
        lambda: image_network(DIGITS_CNN),
        is_image=True,
    ),
    PeerModel(
        *(text_model.NAME, "12 layers, 64 tokens, 110 million weights", 2000.0, (1, 4, 8), 8, 10.0),
        text_model.text_model,
        is_large=True,
    ),
    PeerModel(
        *(RESNET, "ResNet50, 224x224x3 bytes, 25.6 million weights", 1000.0, (1, 4, 8), 8, 10.0),
        lambda: image_network(RESNET),
        is_image=True,
        is_large=True,
    ),
)
