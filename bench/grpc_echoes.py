"""The echoes of gRPC as they are started, with what the server beside them has answered."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from bench.grpc_target import GrpcTarget
from bench.server import Server, free_port

Kind = Literal["aio", "threads"]

#: What reports call them.
NAMES: Final[dict[Kind, str]] = {"aio": "grpc.aio echo", "threads": "grpc.server echo"}


@contextmanager
def grpc_echo(kind: Kind, target: GrpcTarget, answers: Mapping[str, bytes]) -> Iterator[tuple[Server, GrpcTarget]]:
    """A server with these answers by method, and the target as it is asked there.

    Raises RuntimeError when it does not answer.
    """
    there = replace(target, port=free_port())
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as folder:
        for method, answer in answers.items():
            Path(folder, method).write_bytes(answer)
        command = [sys.executable, "-m", "bench.grpc_echo", "--kind", kind, "--port", str(there.port), "--answers", folder]
        with Server(command, there) as server:
            server.until_answered()
            yield server, there
