"""MLServer, in its own environment, with a custom runtime: it has none for TensorFlow."""

from __future__ import annotations

import http.client
import json
from typing import Final

from bench.peers.peer import Command, Peer, Place, Row, Setting
from bench.peers.wire import v2_rows

_WORKERS: Final = 1
_SECONDS: Final = 60.0
_DOCS: Final = "https://docs.seldon.ai/mlserver/user-guide"


def _command(place: Place) -> Command:
    folder = place.folder / "mlserver"
    settings = {
        "host": "127.0.0.1",
        "http_port": place.port,
        "grpc_port": place.port + 1,
        "metrics_port": place.port + 2,
        "environments_dir": str(folder / "environments"),
        "metrics_dir": str(folder / "metrics"),  # else in the folder where it is started
        "debug": False,
        "parallel_workers": _WORKERS,
    }
    (folder / place.model.name).mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    _write_model(place, 1)
    log = folder / "log.json"  # else it says a line for each request
    log.write_text(json.dumps({"version": 1, "loggers": {"uvicorn.access": {"level": "ERROR"}}}), encoding="utf-8")
    return Command([place.beside("mlserver"), "start", str(folder)], {"MLSERVER_LOGGING_SETTINGS": str(log)})


def _write_model(place: Place, version: int) -> None:
    model = place.model
    settings = {
        "name": model.name,
        "implementation": "bench.peers.programs.mlserver_runtime.SavedModelRuntime",
        "parameters": {"uri": str(place.base / str(version)), "version": "1"},
        "max_batch_size": model.batch,
        "max_batch_time": model.wait / 1000,
    }
    file = place.folder / "mlserver" / model.name / "model-settings.json"
    file.write_text(json.dumps(settings), encoding="utf-8")


def _switch(place: Place, _: int, version: int) -> None:
    """Raises RuntimeError when it does not load."""
    _write_model(place, version)
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=_SECONDS)
    try:
        connection.request("POST", f"/v2/repository/models/{place.model.name}/load")
        answer = connection.getresponse()
        words = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"MLServer answered {answer.status} {words[:200]!r}")


PEER: Final = Peer(
    name="MLServer",
    package="mlserver",
    packages=("mlserver==1.7.1", "uvloop<0.22"),  # its workers end at once with a newer uvloop
    settings=(
        Setting("a custom runtime", "Custom Inference Runtimes", f"{_DOCS}/custom"),
        Setting("batches of at most 64 rows, 1 to 10 ms to fill", "Adaptive Batching", f"{_DOCS}/adaptive-batching"),
        Setting(
            "one process that runs the model, its default: two were no quicker",
            "Parallel Inference",
            f"{_DOCS}/parallel-inference",
        ),
        Setting("without the log of requests; uvloop older than 0.22, with which its workers start"),
    ),
    command=_command,
    rows=(Row("MLServer", lambda model: v2_rows(f"/v2/models/{model.name}/infer")),),
    switch=_switch,
    switch_words="its repository's load call",
)
