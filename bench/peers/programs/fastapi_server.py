"""What people write themselves: FastAPI, uvicorn with a worker for each core, and TensorFlow. Nothing is batched."""

from __future__ import annotations

import os
from typing import Any, Final

import uvicorn  # type: ignore[import-not-found, unused-ignore]
from fastapi import FastAPI  # type: ignore[import-not-found, unused-ignore]
from pydantic import BaseModel  # type: ignore[import-not-found, unused-ignore]

from bench.peers.programs.loaded_model import LoadedModel, settings

_MODEL: Final = "BENCH_PEERS_MODEL"  # workers are processes that import this module


class Instances(BaseModel):  # type: ignore[misc, unused-ignore]
    instances: list[Any]


class Predictions(BaseModel):  # type: ignore[misc, unused-ignore]
    predictions: list[Any]


def application() -> FastAPI:
    """One for each worker process."""
    model = LoadedModel(os.environ[_MODEL])
    app = FastAPI()

    @app.post("/predict")  # type: ignore[untyped-decorator, unused-ignore]
    def predict(body: Instances) -> Predictions:
        return Predictions(predictions=model.run(body.instances).tolist())

    return app


def main() -> None:
    arguments = settings().parse_args()
    os.environ[_MODEL] = arguments.model
    uvicorn.run(
        f"{__spec__.name}:application",
        factory=True,
        host="127.0.0.1",
        port=arguments.port,
        workers=arguments.workers,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
