"""An image as the bodies of requests of several kinds, and the answers to these read."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]

_SEED: Final = 7
_TOLERANCE: Final = 1e-4  # of a mean of millions of float32, by the order in which they are added


@dataclass(frozen=True, slots=True)
class ImageBody:
    """One kind of body. `mean` reads an answer of the same kind; raises ValueError, KeyError, TypeError or EOFError."""

    kind: str
    headers: tuple[str, ...]
    body: bytes
    mean: Callable[[bytes], float]

    def request(self, port: int, path: str) -> bytes:
        """The whole POST request."""
        lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *self.headers, f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def check(self, answers: Iterable[bytes], image: Image) -> None:
        """Raises RuntimeError for an answer that is not the image's mean."""
        expected = float(image.mean(dtype=np.float64))
        for answer in answers:
            try:
                right = math.isclose(self.mean(answer), expected, rel_tol=_TOLERANCE)
            except (ValueError, KeyError, TypeError, EOFError):
                right = False
            if not right:
                raise RuntimeError(f"{self.kind}: answered {answer[:200]!r} instead of the mean {expected}")


def random_image(side: int) -> Image:
    """One image as a batch: bytes of colours, made floats from 0 to 1 as clients make them."""
    colours = np.random.default_rng(_SEED).integers(0, 256, (1, side, side, 3))
    return (colours / 255).astype("<f4")


def raw_body(image: Image) -> ImageBody:
    headers = (
        "Content-Type: application/octet-stream",
        f"X-Ringserve-Dtype: {image.dtype.name}",
        f"X-Ringserve-Shape: {','.join(str(size) for size in image.shape)}",
    )
    return ImageBody("raw", headers, image.tobytes(), lambda answer: _only(np.frombuffer(answer, "<f4")))


def npy_body(image: Image) -> ImageBody:
    file = io.BytesIO()
    np.save(file, image)
    return ImageBody(
        "npy", ("Content-Type: application/x-npy",), file.getvalue(), lambda answer: _only(np.load(io.BytesIO(answer)))
    )


def json_body(image: Image) -> ImageBody:
    """With all digits, as `tolist` makes them of an array."""
    text = json.dumps({"instances": image.tolist()}, separators=(",", ":"))
    return ImageBody(
        "JSON", ("Content-Type: application/json",), text.encode(), lambda answer: _only(json.loads(answer)["predictions"])
    )


def _only(values: Any) -> float:
    (value,) = values
    return float(value)
