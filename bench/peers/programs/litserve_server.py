"""What LitServe serves: requests of a row each, batched."""

from __future__ import annotations

from typing import Any

import litserve  # type: ignore[import-not-found, import-untyped, unused-ignore]
import numpy as np

from bench.peers.programs.loaded_model import LoadedModel, settings


class Predictions(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Runs in each worker process."""

    def __init__(self, folder: str, **batching: Any) -> None:
        super().__init__(**batching)
        self._folder = folder

    def setup(self, device: str) -> None:
        self._model = LoadedModel(self._folder)

    def decode_request(self, request):  # type: ignore[no-untyped-def] # with a type it would be one of FastAPI's parameters
        (row,) = request["instances"]
        return np.asarray(row, self._model.type)

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self._model.run(x)

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"predictions": [output.tolist()]}


def main() -> None:
    arguments = settings().parse_args()
    api = Predictions(arguments.model, max_batch_size=arguments.batch, batch_timeout=arguments.fill / 1000)
    # `fast_queue`, which its page on speed speaks of, does nothing in 0.2.19: issue 751 of Lightning-AI/LitServe.
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=arguments.workers)
    server.run(host="127.0.0.1", port=arguments.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
