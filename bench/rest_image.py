"""The image topologies: large bodies of several kinds, beside what it takes to move or to parse the same bytes by hand."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.body_generator import BodyLoad, body_load
from bench.floor_process import image_runs, socket_sink
from bench.image_bodies import Image, ImageBody, json_body, npy_body, random_image, raw_body
from bench.image_models import image_mean
from bench.load import Load, Target
from bench.served_models import serve_model
from bench.server import Server, free_port
from bench.topology import Row, Settings, Topology

_SIDE: Final = 1024
_KINDS: Final = (raw_body, npy_body, json_body)
_SMALL_SIDE: Final = 224
_SMALL_CONNECTIONS: Final = 4
_WARM_SECONDS: Final = 1.0

_Measured = Callable[[float], BodyLoad]  # a run of so many seconds


def _measure_kinds(settings: Settings, rows: list[Row]) -> None:
    """One connection, one image after the other, as each kind of body in turn."""
    name = "rest-image"
    image = random_image(_SIDE)
    bodies = [kind(image) for kind in _KINDS]
    mine = {body.kind: Row(name, f"{body.kind} p50", "ms", "lower", "its bytes over a socket") for body in bodies}
    run_row = Row(name, "model run p50", "ms", "lower")
    rows += [*mine.values(), run_row]
    base = image_mean(_SIDE)
    target = black_image(base.name, _SIDE)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringserve-bench-")))
        run = stack.enter_context(image_runs(base, _SIDE))
        server = stack.enter_context(Server(serve_model(base, target.port), target))
        server.until_answered()
        pairs = {
            body.kind: (_asked(scratch, body, image, target, 1), _sunk(stack, scratch, body, target)) for body in bodies
        }
        for ours, floor in pairs.values():
            ours(_WARM_SECONDS)
            floor(_WARM_SECONDS)
        for repetition in range(settings.repeat):
            run_row.add(run(settings.seconds / 2))
            words = [f"model run {run_row.figures[-1]:.2f} ms"]
            for kind, (ours, floor) in pairs.items():
                load, least = _in_turn(repetition, ours, floor, settings.seconds)
                mine[kind].add(load.p50, least.p50)
                words.append(f"{kind} {load.p50:.2f} ms, its bytes over a socket {least.p50:.2f}")
            settings.say("; ".join(words))


def _measure_small(settings: Settings, rows: list[Row]) -> None:
    """Several connections, each with one image after the other, as JSON."""
    name, floor_name = "rest-image-json", "aiohttp, orjson, numpy"
    image = random_image(_SMALL_SIDE)
    throughput = Row(name, "throughput", "req/s", "higher", floor_name)
    latency = Row(name, "p50", "ms", "lower", floor_name)
    rows += [throughput, latency]
    base = image_mean(_SMALL_SIDE)
    target, by_hand = black_image(base.name, _SMALL_SIDE), black_image(base.name, _SMALL_SIDE)
    command = [sys.executable, "-m", "bench.image_server", "--port", str(by_hand.port)]
    with (
        tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch,
        Server(serve_model(base, target.port), target) as server,
        Server(command, by_hand) as floor_server,
    ):
        server.until_answered()
        floor_server.until_answered()
        body = json_body(image)
        ours, floor = (_asked(Path(scratch), body, image, each, _SMALL_CONNECTIONS) for each in (target, by_hand))
        for measured in (ours, floor):
            measured(_WARM_SECONDS)
        for repetition in range(settings.repeat):
            load, least = _in_turn(repetition, ours, floor, settings.seconds)
            throughput.add(load.rate, least.rate)
            latency.add(load.p50, least.p50)
            settings.say(f"{load.rate:.1f} req/s, p50 {load.p50:.1f} ms; {floor_name} {least.rate:.1f}, {least.p50:.1f}")


def _in_turn(repetition: int, ours: _Measured, floor: _Measured, seconds: float) -> tuple[Load, Load]:
    """Who comes first changes: neither always finds the machine as the other left it."""
    if repetition % 2:
        other = floor(seconds)
        return ours(seconds).load, other.load
    return ours(seconds).load, floor(seconds).load


def _asked(scratch: Path, body: ImageBody, image: Image, target: Target, connections: int) -> _Measured:
    """Sends the image to a server, and checks what it answers."""
    request = scratch / f"{body.kind}-{target.port}"
    request.write_bytes(body.request(target.port, target.path))

    def measured(seconds: float) -> BodyLoad:
        found = body_load(target.port, request, connections, seconds)
        body.check(found.answers, image)
        return found

    return measured


def _sunk(stack: ExitStack, scratch: Path, body: ImageBody, target: Target) -> _Measured:
    """Sends the bytes of the same request to a server that only takes them."""
    request = scratch / f"{body.kind}-{target.port}"
    port = stack.enter_context(socket_sink(request.stat().st_size))
    return lambda seconds: body_load(port, request, 1, seconds, bare=True)


def black_image(model: str, side: int) -> Target:
    """A black image: what shows that the server is there."""
    row = f"[{','.join(['[0,0,0]'] * side)}]"
    return Target(
        free_port(),
        f"/v1/models/{model}:predict",
        f'{{"instances":[[{",".join([row] * side)}]]}}',
        {"predictions": [0.0]},
    )


TOPOLOGIES: Final = (
    Topology(
        "rest-image",
        f"an image of {_SIDE}x{_SIDE}x3 floats over HTTP as raw bytes, npy and JSON, one at a time",
        _measure_kinds,
    ),
    Topology(
        "rest-image-json",
        f"images of {_SMALL_SIDE}x{_SMALL_SIDE}x3 floats as JSON over HTTP, {_SMALL_CONNECTIONS} at a time",
        _measure_small,
    ),
)
