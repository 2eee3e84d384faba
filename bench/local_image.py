"""The image topologies of clients on the server's machine: the client library over ZeroMQ and over shared memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.floor_process import image_runs
from bench.image_models import image_mean
from bench.library_client import Way, library_load
from bench.rest_image import black_image
from bench.served_models import serve_locally, shm_path, zmq_path
from bench.server import Server
from bench.topology import Goal, Row, Settings, Topology

_SIDE: Final = 1024
_WARM_SECONDS: Final = 1.0
_COPIES: Final = 2
_FLOOR: Final = f"a run and {_COPIES} copies"
_GOAL: Final = Goal("ratio", 1.2)

#: How the image goes by what the report calls it, and the goal for it.
Ways = Mapping[str, tuple[Way, tuple[Goal, ...]]]


def _topology(name: str, over: str, url: Callable[[Path], str], ways: Ways) -> Topology:
    def measure(settings: Settings, rows: list[Row]) -> None:
        mine = {way: Row(name, f"{measure} p50", "ms", "lower", _FLOOR, goals) for measure, (way, goals) in ways.items()}
        rows += mine.values()
        base = image_mean(_SIDE)
        target = black_image(base.name, _SIDE)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringserve-bench-")))
            run = stack.enter_context(image_runs(base, _SIDE, _COPIES))
            server = stack.enter_context(Server(serve_locally(base, target.port, folder), target))
            server.until_answered()

            def asked(way: Way, seconds: float) -> float:
                load = library_load(url(folder), way, seconds, model=base.name, side=_SIDE)
                if load.errors or not load.requests:
                    raise RuntimeError(f"{load.errors} requests failed, {load.requests} did not")
                return load.p50

            for way in mine:
                asked(way, _WARM_SECONDS)
            run(_WARM_SECONDS)
            for repetition in range(settings.repeat):
                # Who comes first changes: none always finds the machine as another left it.
                first = run(settings.seconds / 2) if repetition % 2 else None
                found = {way: asked(way, settings.seconds) for way in mine}
                floor = run(settings.seconds / 2) if first is None else first
                for way, row in mine.items():
                    row.add(found[way], floor)
                words = [f"{row.measure} {row.figures[-1]:.2f} ms" for row in mine.values()]
                settings.say(f"{', '.join(words)}; {_FLOOR} {floor:.2f}")

    return Topology(name, f"an image of {_SIDE}x{_SIDE}x3 floats by the client library {over}, one at a time", measure)


TOPOLOGIES: Final = (
    _topology(
        "image-zmq", "over ZeroMQ (ipc)", lambda folder: f"zmq+ipc://{zmq_path(folder)}", {"predict": ("image", (_GOAL,))}
    ),
    _topology(
        "image-shm",
        "over shared memory",
        lambda folder: f"shm://{shm_path(folder)}",
        {"predict": ("image", (_GOAL,)), "slot": ("image-slot", ())},
    ),
)
