"""pytriton, in its own environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from bench.peers.peer import Command, Peer, Place, Row, Setting, program
from bench.peers.wire import v2_bytes

_DOCS: Final = "https://triton-inference-server.github.io/pytriton/latest"
#: Triton's Python back end is linked with the system's libpython, and wants the standard library that belongs to it.
_SYSTEM: Final = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")


def _command(place: Place) -> Command:
    model = place.model
    return Command(program(place, "pytriton_server", batch=model.batch, name=model.name))


PEER: Final = Peer(
    name="pytriton",
    package="nvidia-pytriton",
    packages=("nvidia-pytriton==0.7.0",),
    settings=(
        Setting(
            "dynamic batches of at most 64 rows, without a delay, as it comes",
            "Model configuration",
            f"{_DOCS}/binding_configuration/",
        ),
        Setting("tensors in binary over HTTP, as its own client sends them", "Clients", f"{_DOCS}/clients/"),
        Setting(
            "one function, which runs in the server's first process", "Binding Models to Triton", f"{_DOCS}/binding_models/"
        ),
        Setting(
            "the system's Python, whose libpython Triton's back end is linked with", "Installation", f"{_DOCS}/installation/"
        ),
    ),
    command=_command,
    rows=(Row("pytriton", lambda model: v2_bytes(f"/v2/models/{model.name}/infer")),),
    interpreter=str(_SYSTEM) if _SYSTEM.exists() else sys.executable,
)
