"""Commands that start a server: with one model, or with the several of a config file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.server import free_port

#: The shortest time between two looks for new versions that the flag can say, in seconds.
POLL_SECONDS: Final = 1


def write_config(path: Path, bases: Iterable[Path], policy: str = "latest { num_versions: 1 }") -> Path:
    """A model config file: each base path is served by its own name, all under one version policy (text proto)."""
    entries = "".join(
        f'  config {{ name: "{base.name}" base_path: "{base}" model_platform: "tensorflow"'
        f" model_version_policy {{ {policy} }} }}\n"
        for base in bases
    )
    path.write_text(f"model_config_list {{\n{entries}}}\n", encoding="utf-8")
    return path


def serve_command(config: Path, port: int) -> list[str]:
    """The server with these models; REST listens on `port`."""
    return [
        *(sys.executable, "-m", "ringserve", "serve"),
        f"--port={free_port()}",
        f"--zmq_port={free_port()}",
        f"--rest_api_port={port}",
        f"--model_config_file={config}",
        f"--file_system_poll_wait_seconds={POLL_SECONDS}",
    ]


def serve_model(base: Path, port: int, frontends: int = 1, grpc_port: int = 0, grpc_frontends: int = 1) -> list[str]:
    """The server with the model of this base path, by its name; REST listens on `port`, gRPC on a free port or its own."""
    return [
        *(sys.executable, "-m", "ringserve", "serve"),
        f"--port={grpc_port or free_port()}",
        f"--zmq_port={free_port()}",
        f"--grpc_frontends={grpc_frontends}",
        f"--rest_api_port={port}",
        f"--rest_frontends={frontends}",
        f"--model_name={base.name}",
        f"--model_base_path={base}",
        "--log_level=warning",
    ]


def serve_locally(base: Path, port: int, folder: Path) -> list[str]:
    """The same with sockets in a folder, whose path has to be short: ZeroMQ's and that of clients that share memory."""
    return [*serve_model(base, port), f"--zmq_endpoint=ipc://{zmq_path(folder)}", f"--shm_socket={shm_path(folder)}"]


def zmq_path(folder: Path) -> Path:
    return folder / "zmq"


def shm_path(folder: Path) -> Path:
    return folder / "shm"
