"""FastAPI with uvicorn and TensorFlow, what people write themselves, in an environment of its own."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

import psutil

from bench.peers.peer import Command, Peer, Place, Row, Setting, program
from bench.peers.wire import json_rows

_WORKERS: Final = 2
_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02


def _command(place: Place) -> Command:
    return Command(program(place, "fastapi_server", workers=_WORKERS))


def _switch(place: Place, process: int, _: int) -> None:
    """Until the last of the workers that were there has ended, and another one answers. Raises RuntimeError."""
    old = psutil.Process(process).children()
    os.kill(process, signal.SIGHUP)
    _, left = psutil.wait_procs([each for each in old if _is_worker(each)], timeout=_SECONDS)
    if left:
        raise RuntimeError("uvicorn has not replaced its workers")
    form, until = PEER.rows[0].form(place.model), time.monotonic() + _SECONDS
    while True:
        try:
            form.requests(place.url, place.model, 1)
            return
        except ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL_SECONDS)


def _is_worker(process: psutil.Process) -> bool:
    """And not the process that multiprocessing keeps beside them."""
    return any("spawn_main" in word for word in process.cmdline())


PEER: Final = Peer(
    name="FastAPI",
    package="fastapi",
    packages=("fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
    settings=(
        Setting(
            f"uvicorn with {_WORKERS} workers: a process for each core",
            "Server Workers - Uvicorn with Workers",
            "https://fastapi.tiangolo.com/deployment/server-workers/",
        ),
        Setting(
            "a function without async, which runs in a pool of threads",
            "Concurrency and async / await",
            "https://fastapi.tiangolo.com/async/",
        ),
        Setting("nothing is batched; no log of requests"),
    ),
    command=_command,
    rows=(Row("FastAPI", lambda _: json_rows("/predict")),),
    switch=_switch,
    switch_words="SIGHUP, with which uvicorn replaces its workers",
)
