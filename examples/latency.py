"""How long a small request takes over each way to the server: ``python -m examples.latency``, while ``make serve`` runs."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import ringserve

_SOCKETS = Path(__file__).resolve().parents[1] / "build" / "sockets"  # of make serve
DEFAULT_URLS = (
    "http://localhost:8501",
    "grpc://localhost:8500",
    "zmq://localhost:8502",
    f"zmq+ipc://{_SOCKETS}/zmq",
    f"shm://{_SOCKETS}/shm",
)
NAMES = {
    "http": "REST",
    "https": "REST, TLS",
    "grpc": "gRPC",
    "grpcs": "gRPC, TLS",
    "grpc+unix": "gRPC, UNIX socket",
    "zmq": "ZeroMQ, tcp",
    "zmq+ipc": "ZeroMQ, ipc",
    "shm": "shared memory",
}
ROUNDS = 10
WARM_CALLS = 50
FIRST_CALL_SECONDS = 3.0


@dataclass
class Way:
    """One way to the server: how long calls took, in seconds, or why there are none."""

    url: str
    client: ringserve.Client | None = None
    seconds: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        scheme = self.url.partition("://")[0]
        return NAMES.get(scheme, scheme)

    def percentile(self, percent: int) -> float:
        """In microseconds."""
        return float(np.percentile(self.seconds, percent)) * 1e6

    def fail(self, reason: str) -> None:
        """Not available, or no longer."""
        self.reason = reason
        self.seconds.clear()
        if self.client is not None:
            self.client.close()
            self.client = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; exit status 1 where no way is available, and where an answer is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.latency", description="Compare what a predict takes over each way to the server."
    )
    parser.add_argument(
        "--url", action="append", dest="urls", metavar="URL", help=f"a way, may be repeated ({' '.join(DEFAULT_URLS)})"
    )
    parser.add_argument("--calls", type=int, default=2000, help="of each way (%(default)s)")
    parser.add_argument("--rows", type=int, default=1, help="numbers of a call (%(default)s)")
    options = parser.parse_args(arguments)
    if options.calls < 1 or options.rows < 1:
        parser.error("--calls and --rows begin at 1")
    numbers = np.arange(options.rows, dtype=np.float32)
    ways = [connected(url, numbers) for url in options.urls or DEFAULT_URLS]
    measure(ways, numbers, options.calls)
    print(table(ways))
    wrong = any(way.reason.startswith("answers wrongly") for way in ways)
    return 1 if wrong or not any(way.seconds for way in ways) else 0


def connected(url: str, numbers: np.ndarray) -> Way:
    """A way that has answered, and is warm; or one with the reason why not."""
    way = Way(url)
    try:
        way.client = ringserve.Client(url, timeout=FIRST_CALL_SECONDS)
    except (ValueError, ImportError) as error:
        way.fail(str(error))
        return way
    for _ in range(WARM_CALLS):
        call(way, numbers)
    way.seconds.clear()
    return way


def call(way: Way, numbers: np.ndarray) -> None:
    """One predict, if the way is available."""
    if way.client is None:
        return
    began = time.perf_counter()
    try:
        answer = way.client.predict("half_plus_two", {"x": numbers})
    except (ringserve.ServingError, ImportError) as error:
        way.fail(str(error))
        return
    way.seconds.append(time.perf_counter() - began)
    if not np.array_equal(answer["y"], numbers / 2 + 2):
        way.fail(f"answers wrongly: {answer['y']}")


def measure(ways: Sequence[Way], numbers: np.ndarray, calls: int) -> None:
    """The ways take turns: what else the machine does meets all of them."""
    for turn in range(ROUNDS):
        for way in ways:
            for _ in range(calls * turn // ROUNDS, calls * (turn + 1) // ROUNDS):
                call(way, numbers)


def table(ways: Sequence[Way]) -> str:
    """A line for each."""
    names = max(len(way.name) for way in ways)
    urls = max(len(way.url) for way in ways)
    lines = [f"{'':{names}}  {'':{urls}}  {'p50':>9}  {'p99':>9}"]
    for way in ways:
        figures = f"{way.percentile(50):6.0f} us  {way.percentile(99):6.0f} us" if way.seconds else ""
        lines.append(f"{way.name:{names}}  {way.url:{urls}}  {figures or f'not available: {way.reason}'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
