"""What mosec serves for the comparison: half_plus_two's arithmetic, in numpy, on the stacked batch.

A program for the environment that has mosec, which is not this project's; arguments it does not know are mosec's own.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

import numpy as np
import orjson
from mosec import Server, Worker  # type: ignore[import-not-found, unused-ignore]

_BATCH: Final = 64  # rows at most
_WAIT: Final = 1  # ms for a batch to fill: the shortest that mosec takes


class HalfPlusTwo(Worker):  # type: ignore[misc, unused-ignore]
    """JSON as mosec does it when it is not told otherwise."""

    def forward(self, data: list[dict[str, list[float]]]) -> list[dict[str, list[float]]]:
        """A batch of requests of the same number of rows each, as the generator sends them."""
        batch = np.array([request["instances"] for request in data], dtype=np.float32)
        return [{"predictions": row} for row in (0.5 * batch + 2.0).tolist()]


class HalfPlusTwoOrjson(HalfPlusTwo):
    """The same with orjson."""

    def deserialize(self, data: bytes) -> Any:
        return orjson.loads(data)

    def serialize(self, data: Any) -> bytes:
        return orjson.dumps(data)


_SERVICES: Final = {"json": HalfPlusTwo, "orjson": HalfPlusTwoOrjson}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", choices=_SERVICES, required=True, help="what reads and writes JSON")
    arguments, _ = parser.parse_known_args()
    server = Server()
    server.append_worker(_SERVICES[arguments.json], num=1, max_batch_size=_BATCH, max_wait_time=_WAIT)
    server.run()


if __name__ == "__main__":
    main()
