"""mosec, in its own environment."""

from __future__ import annotations

from typing import Final

from bench.peers.peer import Command, Peer, Place, Row, Setting, program
from bench.peers.wire import image_bytes, json_rows

_WORKERS: Final = 2
_README: Final = "https://github.com/mosecorg/mosec/blob/main/README.md"
_PATH: Final = "/inference"


def _command(place: Place) -> Command:
    model = place.model
    words = program(place, "mosec_server", workers=_WORKERS, batch=model.batch, fill=model.wait)
    return Command([*words, *["--images"] * model.is_image, "--address=127.0.0.1", "--log-level=warning"])


PEER: Final = Peer(
    name="mosec",
    package="mosec",
    packages=("mosec==0.9.8", "orjson", "msgpack"),
    settings=(
        Setting(
            "batches of at most 64 rows, 1 to 10 ms to fill; 1 is the least that it takes", "README, Configuration", _README
        ),
        Setting("orjson for JSON; images come as MessagePack", "README, Performance tuning", _README),
        Setting(f"{_WORKERS} workers: the page leaves the number to trial", "README, Performance tuning", _README),
    ),
    command=_command,
    rows=(Row("mosec", lambda model: image_bytes(_PATH) if model.is_image else json_rows(_PATH)),),
)
