"""What mosec serves. Images come as MessagePack, which its README advises for them; all else, and answers, as JSON.

Arguments that it does not know are mosec's own, which reads them when it is imported, and skips those that it does not know.
"""

from __future__ import annotations

import os
from typing import Any, Final

import msgpack  # type: ignore[import-not-found, import-untyped, unused-ignore]
import numpy as np
import orjson
from mosec import Server, Worker  # type: ignore[import-not-found, unused-ignore]

from bench.peers.programs.loaded_model import LoadedModel, settings

_MODEL: Final = "BENCH_PEERS_MODEL"  # workers are processes that import this module


class Predictions(Worker):  # type: ignore[misc, unused-ignore]
    """Reads JSON, and writes it, with orjson."""

    def __init__(self) -> None:
        super().__init__()
        self._model = LoadedModel(os.environ[_MODEL])

    def deserialize(self, data: bytes) -> Any:
        return np.asarray(orjson.loads(data)["instances"], self._model.type)

    def serialize(self, data: Any) -> bytes:
        return orjson.dumps({"predictions": data}, option=orjson.OPT_SERIALIZE_NUMPY)

    def forward(self, data: Any) -> Any:
        """The arrays of several requests, each of one row."""
        return list(self._model.run(np.concatenate(data))[:, None])


class ImagePredictions(Predictions):
    """Reads MessagePack."""

    def deserialize(self, data: bytes) -> Any:
        image = msgpack.unpackb(data)
        return np.frombuffer(image["bytes"], self._model.type).reshape(image["shape"])


def main() -> None:
    parser = settings()
    parser.add_argument("--images", action="store_true", help="requests are MessagePack")
    arguments, _ = parser.parse_known_args()
    os.environ[_MODEL] = arguments.model
    server = Server()
    worker = ImagePredictions if arguments.images else Predictions
    wait = max(int(arguments.fill), 1)
    server.append_worker(worker, num=arguments.workers, max_batch_size=arguments.batch, max_wait_time=wait)
    server.run()


if __name__ == "__main__":
    main()
