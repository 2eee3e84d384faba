"""The light client as a load generator: a number of requests without a result at any time, by calls or on one stream.

It looks at every answer. A program, so that it has an interpreter of its own; `stream_load` runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Final, Literal

import numpy as np

from bench.half_plus_two import NAME
from bench.http_generator import run_at_once, together
from bench.load import PATIENCE, Load
from bench.outstanding import run
from ringserve.child import become
from ringserve.client import Client

Way = Literal["calls", "stream"]
WAYS: Final[tuple[Way, ...]] = ("calls", "stream")
_INPUTS: Final = {"x": np.array([1.0, 2.0, 5.0], np.float32)}
_RIGHT: Final = np.array([2.5, 3.0, 4.5], np.float32).tobytes()


def is_right(_: int, answer: Any) -> bool:
    return bool(answer["y"].tobytes() == _RIGHT)


def stream_load(port: int, way: Way, outstanding: int, seconds: float) -> Load:
    """Run the client. Raises RuntimeError when it fails."""
    command = [sys.executable, "-m", "bench.grpc_stream_client", "--port", str(port), "--way", way]
    (tally,) = run_at_once([[*command, "--outstanding", str(outstanding), "--seconds", str(seconds)]])
    return together([tally], tally["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--outstanding", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    become("bench grpc client")
    client = Client(f"grpc://127.0.0.1:{arguments.port}")
    client.predict(NAME, _INPUTS)
    asked = client if arguments.way == "calls" else client.stream()

    def submit(_: int) -> Any:
        return asked.submit(NAME, _INPUTS, timeout=PATIENCE)

    print("connected", flush=True)
    sys.stdin.readline()
    tally = run(submit, is_right, arguments.outstanding, arguments.seconds)
    print(json.dumps(tally.to_wire()), flush=True)
    os._exit(0)  # what is late is not waited for


if __name__ == "__main__":
    main()
