"""The client library as a load generator, over any of its protocols: calls one at a time, or some without an answer.

It looks at every answer. A program, so that it has an interpreter of its own; `library_load` runs it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from bench.half_plus_two import NAME
from bench.http_generator import Tally, run_at_once, together
from bench.image_bodies import random_image
from bench.load import PATIENCE, Load
from bench.outstanding import one_by_one, run
from ringserve.child import become
from ringserve.client import Client

Way = Literal["predict", "submit", "submit_each", "image", "image-slot"]
WAYS: Final[tuple[Way, ...]] = ("predict", "submit", "submit_each", "image", "image-slot")
_PERIOD: Final = 7919  # request n sends n modulo a prime: an answer of an earlier round is another one
_TOLERANCE: Final = 1e-4  # of an image's mean
_CONNECT_SECONDS: Final = 30.0


class Rows:
    """Rows of y = 0.5 x + 2, so many a call."""

    def __init__(self, client: Client, rows: int) -> None:
        self._client = client
        numbers = (np.arange(_PERIOD)[:, np.newaxis] + np.arange(rows)) % _PERIOD if rows > 1 else np.arange(_PERIOD)
        inputs = numbers.astype(np.float32).reshape(_PERIOD, rows)
        self._answers = list(inputs / 2 + 2)  # exact in float32
        self._inputs = [{"x": row} for row in inputs]

    def predict(self, number: int) -> Any:
        return self._client.predict(NAME, self._inputs[number % _PERIOD], timeout=PATIENCE)

    def submit(self, number: int) -> Any:
        return self._client.submit(NAME, self._inputs[number % _PERIOD], timeout=PATIENCE)

    def submit_each(self, number: int) -> Any:
        return self._client.submit_each(NAME, self._inputs[number % _PERIOD], timeout=PATIENCE)

    def is_right(self, number: int, answer: Any) -> bool:
        return not getattr(answer, "errors", None) and np.array_equal(answer["y"], self._answers[number % _PERIOD])


class Images:
    """One image again and again, to a model that answers with its mean."""

    def __init__(self, client: Client, model: str, side: int) -> None:
        self._client = client
        self._model = model
        self._inputs = {"image": random_image(side)}
        self._mean = float(self._inputs["image"].mean(dtype=np.float64))

    def predict(self, _: int) -> Any:
        return self._client.predict(self._model, self._inputs, timeout=PATIENCE)

    def in_place(self) -> Callable[[int], Any]:
        """The image is where requests are made: that it gets there is not in the time."""
        slot = self._client.slot(self._model, 1)
        slot.inputs["image"][...] = self._inputs["image"]

        def ask(_: int) -> Any:
            slot.run(PATIENCE)
            return slot.outputs

        return ask

    def is_right(self, _: int, answer: Any) -> bool:
        return math.isclose(float(answer["mean"][0]), self._mean, rel_tol=_TOLERANCE)


def library_load(
    url: str, way: Way, seconds: float, outstanding: int = 1, rows: int = 1, model: str = NAME, side: int = 0
) -> Load:
    """Run the client. `model` and `side` are of images. Raises RuntimeError when it fails."""
    command = [sys.executable, "-m", "bench.library_client", "--url", url, "--way", way, "--seconds", str(seconds)]
    command += ["--outstanding", str(outstanding), "--rows", str(rows), "--model", model, "--side", str(side)]
    (tally,) = run_at_once([command])
    return together([tally], tally["seconds"])


def _prepared(arguments: argparse.Namespace) -> Callable[[float], Tally]:
    """What measures, after one call whose answer is right."""
    client = Client(arguments.url, timeout=_CONNECT_SECONDS)
    way: Way = arguments.way
    asked = Images(client, arguments.model, arguments.side) if arguments.side else Rows(client, arguments.rows)
    if isinstance(asked, Images):
        ask = asked.in_place() if way == "image-slot" else asked.predict
        _expect_right(asked.is_right(0, ask(0)))
        return lambda seconds: one_by_one(ask, asked.is_right, seconds)
    if way == "predict":
        _expect_right(asked.is_right(0, asked.predict(0)))
        return lambda seconds: one_by_one(asked.predict, asked.is_right, seconds)
    submit = asked.submit if way == "submit" else asked.submit_each
    _expect_right(asked.is_right(0, submit(0).result(_CONNECT_SECONDS)))
    return lambda seconds: run(submit, asked.is_right, arguments.outstanding, seconds, arguments.rows)


def _expect_right(right: bool) -> None:
    if not right:
        raise RuntimeError("the first answer is wrong")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--outstanding", type=int, required=True, help="calls without an answer, where they are submitted")
    parser.add_argument("--rows", type=int, required=True, help="requests of a call")
    parser.add_argument("--model", required=True, help="of images")
    parser.add_argument("--side", type=int, required=True, help="of images; 0: rows to half_plus_two")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    become("bench library client")
    measure = _prepared(arguments)
    print("connected", flush=True)
    sys.stdin.readline()
    print(json.dumps(measure(arguments.seconds).to_wire()), flush=True)
    os._exit(0)  # what is late is not waited for


if __name__ == "__main__":
    main()
