"""What Ray Serve serves: requests of a row each, batched in each replica.

It is deployed by a configuration, as `serve deploy` does it. SIGHUP has it deploy again with the version that a file names:
then, as its page on in-place updates says, only the user configuration of the replicas is updated. Each replica leaves a
file when it has loaded a version.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray  # type: ignore[import-not-found, import-untyped, unused-ignore]
from ray import serve  # type: ignore[import-not-found, import-untyped, unused-ignore]
from ray.serve.config import HTTPOptions  # type: ignore[import-not-found, import-untyped, unused-ignore]
from ray.serve.context import _get_global_client  # type: ignore[import-not-found, import-untyped, unused-ignore]
from ray.serve.schema import ServeDeploySchema  # type: ignore[import-not-found, import-untyped, unused-ignore]
from starlette.requests import Request  # type: ignore[import-not-found, unused-ignore]

from bench.peers.programs.loaded_model import LoadedModel, settings

_LOOK_SECONDS: Final = 0.05  # signals are heard between two waits


@serve.deployment  # type: ignore[untyped-decorator, unused-ignore]
class Predictions:
    """A replica."""

    def __init__(self, batch: int, wait: float) -> None:
        """`wait`: s."""
        self._batched.set_max_batch_size(batch)  # type: ignore[attr-defined, unused-ignore]
        self._batched.set_batch_wait_timeout_s(wait)  # type: ignore[attr-defined, unused-ignore]

    def reconfigure(self, config: dict[str, Any]) -> None:
        folder = Path(config["folder"])
        self._model = LoadedModel(folder)
        Path(config["loaded"], f"{folder.name}-{os.getpid()}").touch()

    @serve.batch  # type: ignore[untyped-decorator, unused-ignore]
    async def _batched(self, rows: list[Any]) -> list[Any]:
        answers: list[Any] = self._model.run(np.stack(rows)).tolist()
        return answers

    async def __call__(self, request: Request) -> dict[str, Any]:
        (row,) = (await request.json())["instances"]
        return {"predictions": [await self._batched(np.asarray(row, self._model.type))]}


def application(arguments: dict[str, Any]) -> Any:
    """What the configuration names."""
    return Predictions.bind(arguments["batch"], arguments["wait"])  # type: ignore[attr-defined, unused-ignore]


def main() -> None:
    parser = settings()
    parser.add_argument("--next", type=Path, required=True, help="names the version folder to change to")
    parser.add_argument("--loaded", type=Path, required=True, help="the folder that replicas leave files in")
    arguments = parser.parse_args()
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: asked.set())
    arguments.loaded.mkdir(exist_ok=True)
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=arguments.port))
    try:
        _deploy(arguments, str(Path(arguments.model).resolve()))
        while True:
            while not asked.wait(_LOOK_SECONDS):
                pass
            asked.clear()
            _deploy(arguments, arguments.next.read_text(encoding="utf-8"))
    finally:
        serve.shutdown()
        ray.shutdown()


def _deploy(arguments: Any, folder: str) -> None:
    deployment = {
        "name": "Predictions",
        "num_replicas": arguments.workers,
        "max_ongoing_requests": 1000,
        "ray_actor_options": {"num_cpus": 1},
        "user_config": {"folder": folder, "loaded": str(arguments.loaded)},
    }
    predictions = {
        "name": "predictions",
        "route_prefix": "/predict",
        "import_path": f"{__spec__.name}:application",
        "args": {"batch": arguments.batch, "wait": arguments.fill / 1000},
        "deployments": [deployment],
    }
    _get_global_client().deploy_apps(ServeDeploySchema(applications=[predictions]), _blocking=True)


if __name__ == "__main__":
    main()
