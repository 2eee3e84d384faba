"""What a run of an image model takes in a worker's engine, without a server around it; with so many copies of the image.

A program: it reads a number of seconds a line, and prints the median milliseconds of the runs that it made in that time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.image_bodies import Image, random_image
from bench.loaded_model import loaded_model
from ringserve.child import become
from ringserve.signature import DEFAULT_SIGNATURE
from shm.packed import PackedTensor
from workers.engine import LoadedVersion
from workers.private_memory import aligned


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--copies", type=int, default=0, help="of the image before each run, one of the other")
    arguments = parser.parse_args()
    become("bench image runs")
    image = random_image(arguments.side)
    version, report = loaded_model(arguments.model)
    print("ready", flush=True)
    for line in sys.stdin:
        print(_milliseconds(version, image, report.inline, float(line), arguments.copies), flush=True)
    os._exit(0)


def _milliseconds(version: LoadedVersion, image: Image, inline: bool, seconds: float, copies: int) -> float:
    """Of one run, its median. Every answer is checked."""
    (spec,) = version.signatures[DEFAULT_SIGNATURE].inputs
    places = [image, *(aligned(image.nbytes).view(image.dtype).reshape(image.shape) for _ in range(copies))]
    tensor = PackedTensor(spec.dtype.number, image.shape, places[-1].reshape(-1).view(np.uint8).data)
    expected = image.mean(dtype=np.float64)
    samples: list[float] = []
    stop = time.monotonic() + seconds
    while not samples or time.monotonic() < stop:
        began = time.perf_counter()
        for source, target in pairwise(places):
            np.copyto(target, source)
        with version.run(DEFAULT_SIGNATURE, [tensor], inline) as (answer,):
            samples.append(time.perf_counter() - began)
            if not np.allclose(np.frombuffer(answer.data, "<f4"), expected, rtol=1e-4):
                raise RuntimeError("a wrong answer")
    return statistics.median(samples) * 1e3


if __name__ == "__main__":
    main()
