"""Ray Serve, in its own environment."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from bench.peers.peer import Command, Peer, Place, Row, Setting, program
from bench.peers.wire import json_rows

_WORKERS: Final = 2
_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02
_NEXT: Final = "next"  # a file that names the version to load
_LOADED: Final = "loaded"  # a folder with a file for each replica that has loaded one
_DOCS: Final = "https://docs.ray.io/en/latest/serve"


def _command(place: Place) -> Command:
    model = place.model
    options = {"workers": _WORKERS, "batch": model.batch, "fill": model.wait}
    files = {"next": place.folder / _NEXT, "loaded": place.folder / _LOADED}
    environment = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(place.folder / "ray"),
    }
    return Command(program(place, "ray_server", **options, **files), environment)


def _switch(place: Place, process: int, version: int) -> None:
    """Until all replicas have loaded it. Raises RuntimeError when they do not."""
    (place.folder / _NEXT).write_text(str(place.base / str(version)), encoding="utf-8")
    os.kill(process, signal.SIGHUP)
    until = time.monotonic() + _SECONDS
    while len(list((place.folder / _LOADED).glob(f"{version}-*"))) < _WORKERS:
        if time.monotonic() > until:
            raise RuntimeError("Ray Serve's replicas have not loaded the version")
        time.sleep(_POLL_SECONDS)


PEER: Final = Peer(
    name="Ray Serve",
    package="ray",
    packages=("ray[serve]==2.60.0",),
    settings=(
        Setting(
            "serve.batch: batches of at most 64 rows, 1 to 10 ms to fill",
            "Dynamic Request Batching",
            f"{_DOCS}/advanced-guides/dyn-req-batch.html",
        ),
        Setting(
            f"{_WORKERS} replicas of a core each, RAY_SERVE_THROUGHPUT_OPTIMIZED=1, 1000 ongoing requests",
            "Performance Tuning",
            f"{_DOCS}/advanced-guides/performance.html",
        ),
        Setting(
            "deployed by a configuration, of which the user_config is updated",
            "In-Place Updates for Serve",
            f"{_DOCS}/advanced-guides/inplace-updates.html",
        ),
        Setting("without the dashboard and usage statistics"),
    ),
    command=_command,
    rows=(Row("Ray Serve", lambda _: json_rows("/predict")),),
    switch=_switch,
    switch_words="its user_config is updated",
)
