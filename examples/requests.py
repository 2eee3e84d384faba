"""Requests for the example models: prints them as curl lines to paste.

They are written next to the models when those are trained, so printing them needs no TensorFlow.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REQUESTS_FILE = "requests.json"
DEFAULT_PORT = 8501


@dataclass(frozen=True)
class SampleRequest:
    """A request for one model, and what is right for it: a number or a label for each row."""

    title: str
    model: str
    body: dict[str, Any]
    expected: list[Any]
    verb: str = "predict"

    def curl(self, host: str, port: int) -> str:
        """A shell command that sends the request."""
        body = json.dumps(self.body, separators=(",", ":"))
        return f"curl -d {shlex.quote(body)} http://{host}:{port}/v1/models/{self.model}:{self.verb}"


def write_requests(path: Path, requests: Sequence[SampleRequest]) -> None:
    """Store the requests, one on each line."""
    lines = ",\n".join(json.dumps(asdict(request)) for request in requests)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_requests(path: Path) -> list[SampleRequest]:
    """The requests stored at ``path``."""
    return [SampleRequest(**stored) for stored in json.loads(path.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a curl line for each stored request."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.requests", description="Print curl lines for the example models."
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder the models were trained into")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the server's HTTP port (%(default)s)")
    options = parser.parse_args(arguments)
    path = options.output / REQUESTS_FILE
    try:
        requests = read_requests(path)
    except FileNotFoundError:
        print(f"{path} is missing: run python -m examples.train --output {options.output}", file=sys.stderr)
        return 1
    for request in requests:
        print(f"# {request.model}: {request.title}; right is {json.dumps(request.expected)}")
        print(request.curl(options.host, options.port))
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
