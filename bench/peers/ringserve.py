"""ringserve: as it comes."""

from __future__ import annotations

from typing import Final

from bench.batch_models import DIGITS_CNN, RESNET
from bench.peers.peer import Command, Peer, Place, Row, Setting
from bench.peers.wire import OwnWire, json_rows
from bench.served_models import POLL_SECONDS, serve_model, zmq_path
from bench.version_states import StatusClient, switched

_SWITCH_SECONDS: Final = 60.0
_FURTHER_PORT: Final = 1  # gRPC's is the one after that of HTTP


def _command(place: Place) -> Command:
    flags = [f"--zmq_endpoint=ipc://{zmq_path(place.folder)}", f"--file_system_poll_wait_seconds={POLL_SECONDS}"]
    return Command([*serve_model(place.base, place.port, grpc_port=place.port + _FURTHER_PORT), *flags])


def _switch(place: Place, _: int, version: int) -> None:
    """It has seen the folder appear."""
    with StatusClient(place.port) as status:
        status.until(place.model.name, switched(version - 1, version), _SWITCH_SECONDS)


PEER: Final = Peer(
    name="ringserve",
    package="ringserve",
    packages=(),
    settings=(
        Setting("as it comes: one front end, one worker, batches without a setting", "tuning.md", "tuning.md"),
        Setting("a new version is a folder that appears; it looks for such once a second", "lifecycle.md", "lifecycle.md"),
    ),
    command=_command,
    rows=(
        Row("ringserve", lambda model: json_rows(f"/v1/models/{model.name}:predict")),
        Row("ringserve, bytes", lambda _: OwnWire("bytes", "bytes"), (DIGITS_CNN, RESNET), beside=True),
        Row(
            "ringserve, gRPC",
            lambda _: OwnWire("gRPC"),
            url=lambda place: f"grpc://127.0.0.1:{place.port + _FURTHER_PORT}",
            beside=True,
        ),
        Row(
            "ringserve, ZeroMQ",
            lambda _: OwnWire("ZeroMQ"),
            url=lambda place: f"zmq+ipc://{zmq_path(place.folder)}",
            beside=True,
        ),
    ),
    switch=_switch,
    switch_words="a version folder appears",
)
