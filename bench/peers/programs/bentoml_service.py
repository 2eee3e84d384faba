"""What BentoML serves, started by `bentoml serve bench.peers.programs.bentoml_service:Predictions`.

Its batching takes one parameter, the array of rows, and answers with the array of answers.
"""

from __future__ import annotations

import os

import bentoml  # type: ignore[import-not-found, import-untyped, unused-ignore]
import numpy as np

from bench.peers.programs.loaded_model import LoadedModel

_BATCH = int(os.environ.get("BENCH_PEERS_BATCH", "1"))


@bentoml.service(workers="cpu_count", traffic={"timeout": 60})  # type: ignore[untyped-decorator, unused-ignore]
class Predictions:
    """In each worker process."""

    def __init__(self) -> None:
        self._model = LoadedModel(os.environ["BENCH_PEERS_MODEL"])

    @bentoml.api(batchable=True, max_batch_size=_BATCH)  # type: ignore[untyped-decorator, unused-ignore]
    def predict(self, instances: np.ndarray) -> np.ndarray:  # whose type it takes apart: bare
        return self._model.run(instances)  # type: ignore[no-any-return]
