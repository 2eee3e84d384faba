"""The light client with the example models: ``python -m examples.grpc_client``, while ``make serve`` runs."""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

import ringserve

DEFAULT_ADDRESS = "grpc://localhost:8500"
REQUESTS = 5000

VIRGINICA = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask every way there is."""
    parser = argparse.ArgumentParser(prog="python -m examples.grpc_client", description="Ask the example models over gRPC.")
    parser.add_argument("--address", default=DEFAULT_ADDRESS, help="the server (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        with ringserve.Client(options.address, timeout=10) as client:
            ask(client)
            stream(client)
    except ringserve.ServingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def ask(client: ringserve.Client) -> None:
    """One call each."""
    for version in client.status("iris"):
        print(f"iris: version {version.version} is {version.state.name}")

    halves = client.predict("half_plus_two", [1.0, 2.0, 5.0])
    print(f"half_plus_two: {halves['y']}, says version {halves.version}")

    rows = np.array([list(SETOSA.values()), list(VIRGINICA.values())], np.float32)
    species = client.predict("iris", {"features": rows}, outputs=["classes"])
    print(f"iris by arrays: {[name.decode() for name in species['classes']]}")

    for scores in client.classify("iris", [SETOSA, VIRGINICA], signature="classify"):
        likeliest = max(scores, key=lambda found: found.score)
        print(f"iris by features: {likeliest.label}, {likeliest.score:.3f}")

    try:
        client.predict("half_plus_two", [1.0], version=99)
    except ringserve.ServingError as error:
        print(f"a version that there is not: {error.code.name}, {error.message}")


def stream(client: ringserve.Client) -> None:
    """Many small requests on one call."""
    numbers = np.arange(REQUESTS, dtype=np.float32)
    began = time.perf_counter()
    with client.stream() as calls:
        futures = [calls.submit("half_plus_two", {"x": numbers[at : at + 1]}) for at in range(REQUESTS)]
        found = np.concatenate([future.result()["y"] for future in futures])
    seconds = time.perf_counter() - began
    right = int(np.count_nonzero(found == numbers / 2 + 2))
    print(f"a stream: {right} of {REQUESTS} answers are right, {REQUESTS / seconds:.0f} a second")


if __name__ == "__main__":
    sys.exit(main())
