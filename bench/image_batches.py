"""The batch topologies: how much of what the engine can do with a model reaches the clients of a whole server.

*cnn-batch* and *resnet-batch*: many clients, each of which sends one image over ZeroMQ and waits for its scores, to a small
convolutional network for digits (28x28 bytes) and to ResNet50 (224x224x3 bytes). The floor is the same model in a worker's
engine without a server, one batch after the other, of the size that is the best one there: 1, 2, 4 … are tried first. The
server has no flags and finds out by itself how many rows to join; it shares the CPUs with its front end and the clients,
which the floor has for itself. What is compared is images per second: 0.95x and more is the goal. More than 1x is possible,
since the server begins with a batch while another one runs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from bench.batch_models import DIGITS_CNN, RESNET, image_network
from bench.batching_servers import batching_servers
from bench.floor_process import batch_runs
from bench.row_client import row_clients
from bench.topology import Goal, Row, Settings, Topology

_WARM_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 0.5  # for each size
_GOAL: Final = Goal("ratio", 0.95)


def _batch(name: str, what: str, network: str, clients: int) -> Topology:
    """`clients`: twice as many as make a batch at least, since two are on their way."""

    def measure(settings: Settings, rows: list[Row]) -> None:
        row = Row(name, "throughput", "images/s", "higher", "in process", (_GOAL,))
        rows.append(row)
        base, asked = image_network(network)
        with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch:
            file = asked.write(Path(scratch) / "rows.npz")
            with (
                batch_runs(base, file, _SWEEP_SECONDS) as (run, size),
                batching_servers(base, asked, {name: ()}) as endpoints,
                row_clients(file) as load,
            ):
                row.floor_name = f"in process, {size} at a time"
                load(endpoints[name], clients, _WARM_SECONDS)
                for repetition in range(settings.repeat):
                    # Who comes first changes: neither always finds the machine as the other left it.
                    first = run(settings.seconds / 2) if repetition % 2 else None
                    found = load(endpoints[name], clients, settings.seconds)
                    row.add(found.rate, first or run(settings.seconds / 2), found.errors)
                    errors = f", {found.errors} ERRORS" if found.errors else ""
                    settings.say(f"{found.rate:,.1f} images/s{errors}; {row.floor_name} {row.floors[-1]:,.1f}")

    return Topology(name, f"{what}, {clients} clients with one image each, beside the engine in process", measure)


TOPOLOGIES: Final = (
    _batch("cnn-batch", "a small network for images of digits", DIGITS_CNN, 256),
    _batch("resnet-batch", "ResNet50", RESNET, 16),
)
