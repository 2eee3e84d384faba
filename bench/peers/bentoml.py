"""BentoML, in its own environment."""

from __future__ import annotations

from typing import Final

from bench.peers.peer import Command, Peer, Place, Row, Setting
from bench.peers.wire import json_rows

_SERVICE: Final = "bench.peers.programs.bentoml_service:Predictions"
_DOCS: Final = "https://docs.bentoml.com/en/latest"


def _command(place: Place) -> Command:
    model = place.model
    environment = {
        "BENCH_PEERS_MODEL": str(place.current),
        "BENCH_PEERS_BATCH": str(model.batch),
        "BENTOML_HOME": str(place.folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    words = [place.beside("bentoml"), "serve", _SERVICE, "--host=127.0.0.1", f"--port={place.port}"]
    return Command(words, environment)


PEER: Final = Peer(
    name="BentoML",
    package="bentoml",
    packages=("bentoml==1.4.39", "numpy"),
    settings=(
        Setting(
            "adaptive batches of at most 64 rows; how long a request may take is left as it is, 60 s",
            "Adaptive batching",
            f"{_DOCS}/get-started/adaptive-batching.html",
        ),
        Setting(
            'workers="cpu_count": a process for each core',
            "Parallelize requests handling",
            f"{_DOCS}/build-with-bentoml/parallelize-requests.html",
        ),
    ),
    command=_command,
    rows=(Row("BentoML", lambda _: json_rows("/predict")),),
)
