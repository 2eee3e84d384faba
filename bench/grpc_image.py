"""The image topology of gRPC: a large tensor_content, beside an echo that takes the same message, and beside a raw body."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.body_generator import body_load
from bench.grpc_echoes import NAMES, grpc_echo
from bench.grpc_generator import grpc_load
from bench.grpc_target import GrpcTarget, grpc_image
from bench.image_bodies import random_image, raw_body
from bench.image_models import image_mean
from bench.served_models import serve_model
from bench.server import Server, free_port
from bench.topology import Row, Settings, Topology

_NAME: Final = "grpc-image"
_SIDE: Final = 1024
_WARM_SECONDS: Final = 1.0
_REST: Final = "REST raw body"
_GENERATOR: Final = "a client in Python"


def _measure(settings: Settings, rows: list[Row]) -> None:
    """One image after the other, each way in turn."""
    floors = {"echo": NAMES["threads"], "rest": _REST}
    mine = {
        key: Row(_NAME, "tensor_content p50", "ms", "lower", floor, generator=_GENERATOR) for key, floor in floors.items()
    }
    rows += mine.values()
    image, base = random_image(_SIDE), image_mean(_SIDE)
    ours, body = grpc_image(free_port(), base.name, image), raw_body(image)
    rest_port = free_port()
    with ExitStack() as stack:
        request = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringserve-bench-"))) / "request"
        request.write_bytes(body.request(rest_port, f"/v1/models/{base.name}:predict"))
        server = stack.enter_context(Server(serve_model(base, rest_port, grpc_port=ours.port), ours))
        server.until_answered()
        _, echo = stack.enter_context(grpc_echo("threads", ours, {ours.method: ours.ask(1)}))

        def rest(seconds: float) -> float:
            found = body_load(rest_port, request, 1, seconds)
            body.check(found.answers, image)
            return found.load.p50

        measured = {"ours": _p50(ours), "echo": _p50(echo), "rest": rest}
        for each in measured.values():
            each(_WARM_SECONDS)
        for repetition in range(settings.repeat):
            # Who comes first changes: none always finds the machine as another left it.
            order = list(measured)[:: -1 if repetition % 2 else 1]
            found = {key: measured[key](settings.seconds) for key in order}
            for key, row in mine.items():
                row.add(found["ours"], found[key])
            settings.say(", ".join(f"{floors.get(key, 'gRPC')} {found[key]:.2f} ms" for key in measured))


def _p50(target: GrpcTarget) -> Callable[[float], float]:
    """Of one call after the other, in ms. Raises RuntimeError for each answer that is not right."""

    def measured(seconds: float) -> float:
        load = grpc_load(target, 1, seconds)
        if load.errors or not load.requests:
            raise RuntimeError(f"{load.errors} requests on port {target.port} failed, {load.requests} did not")
        return load.p50

    return measured


TOPOLOGIES: Final = (
    Topology(
        _NAME,
        f"an image of {_SIDE}x{_SIDE}x3 floats as tensor_content over gRPC, and as a raw body over REST, one at a time",
        _measure,
    ),
)
