"""Images as JSON: how fast a front end reads them, beside orjson and numpy in the same process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import orjson

from bench.topology import Goal, Row, Settings, Topology
from frontend.rest.predict_body import PredictBody
from ringserve.signature import Signature

_SIGNATURE: Final = Signature.of({"x": ("float", (-1, 224, 224, 3))}, {"y": ("float", (-1,))})
_TRIES: Final = 15  # of each a repetition; the fastest counts


def _texts() -> dict[str, str]:
    """An image in the ways that clients write one, by what is measured."""
    image = np.random.default_rng(7).random((1, 224, 224, 3))
    return {
        "float32 as Python writes it": json.dumps(image.astype("<f4").tolist()),
        "float32, shortest": orjson.dumps(image.astype("<f4"), option=orjson.OPT_SERIALIZE_NUMPY).decode(),
        "six digits": json.dumps(image.round(6).tolist()),
        "0 to 255": json.dumps((image * 256).astype(int).tolist()),
    }


def _bodies() -> dict[str, tuple[str, bytes]]:
    bodies = {what: ("instances", f'{{"instances": {text}}}'.encode()) for what, text in _texts().items()}
    columns = {f"{what}, columnar": ("inputs", body.replace(b"instances", b"inputs")) for what, (_, body) in bodies.items()}
    return bodies | columns


def _measure(settings: Settings, rows: list[Row]) -> None:
    bodies = _bodies()
    mine = [Row("json-image", what, "images/s", "higher", "orjson + numpy", (Goal("ratio", 3.0),)) for what in bodies]
    rows += mine
    for _ in range(settings.repeat):
        for row, (key, body) in zip(mine, bodies.values(), strict=True):
            found, wanted = _tensor(body), _array(body, key)
            wrong = int(found.shape != wanted.shape or found.tobytes() != wanted.tobytes())
            row.add(1 / _seconds(partial(_tensor, body)), 1 / _seconds(partial(_array, body, key)), wrong)
            settings.say(f"{row.measure}: {row.figures[-1]:,.0f} images/s; orjson + numpy {row.floors[-1]:,.0f}")


def _tensor(body: bytes) -> Any:
    (tensor,) = PredictBody(body).inputs(_SIGNATURE)
    return tensor.data


def _array(body: bytes, key: str) -> Any:
    return np.array(orjson.loads(body)[key], dtype=np.float32)


def _seconds(decode: Callable[[], object]) -> float:
    """Of the fastest of a few."""
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        decode()
        best = min(best, time.perf_counter() - began)
    return best


TOPOLOGIES: Final = (Topology("json-image", "Decoding a 224x224x3 float image in JSON, in one process", _measure),)
