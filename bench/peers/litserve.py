"""LitServe, in its own environment."""

from __future__ import annotations

from typing import Final

from bench.peers.peer import Command, Peer, Place, Row, Setting, program
from bench.peers.wire import json_rows

_WORKERS: Final = 2
_DOCS: Final = "https://lightning.ai/docs/litserve"


def _command(place: Place) -> Command:
    model = place.model
    return Command(program(place, "litserve_server", workers=_WORKERS, batch=model.batch, fill=model.wait))


PEER: Final = Peer(
    name="LitServe",
    package="litserve",
    packages=("litserve==0.2.19",),
    settings=(
        Setting("batches of at most 64 rows, 1 to 10 ms to fill", "Batching", f"{_DOCS}/features/batching"),
        Setting(f"{_WORKERS} workers, as many API servers", "LitServer", f"{_DOCS}/api-reference/litserver"),
        Setting(
            "not its fast_queue, which this version takes and does not use",
            "issue 751",
            "https://github.com/Lightning-AI/LitServe/issues/751",
        ),
    ),
    command=_command,
    rows=(Row("LitServe", lambda _: json_rows("/predict")),),
)
