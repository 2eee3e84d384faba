"""An environment for each peer, with one TensorFlow for all of them: that of the version that this project has."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.environment import BUILD, environment_python, run_or_skip
from bench.peers.peer import Peer

_FOLDER: Final = BUILD / "bench-peers"
_PATHS: Final = "tensorflow_of_all_peers.pth"


def tensorflow_python() -> Path:
    """Of an environment that has nothing but TensorFlow. Raises SkippedError."""
    return environment_python(_FOLDER / "tensorflow", (f"tensorflow=={version('tensorflow')}",), "TensorFlow")


def peer_python(peer: Peer) -> Path:
    """Its environment sees the packages of TensorFlow's behind its own: 2 GB once, and the same files for all.

    Raises SkippedError where it can't be made.
    """
    if not peer.packages:
        return Path(sys.executable)
    shared = _packages(tensorflow_python())
    folder = _FOLDER / peer.name.lower().replace(" ", "-")
    python = environment_python(folder, peer.packages, peer.name, peer.interpreter)
    (_packages(python) / _PATHS).write_text(f"{shared}\n", encoding="utf-8")
    return python


def peer_version(peer: Peer, python: Path) -> str:
    """Raises SkippedError."""
    return package_version(peer.package, python)


def package_version(package: str, python: Path) -> str:
    """Raises SkippedError."""
    command = [str(python), "-c", f"from importlib.metadata import version; print(version({package!r}))"]
    return run_or_skip(command, f"the version of {package} can't be told").strip()


def _packages(python: Path) -> Path:
    (folder,) = python.parents[1].glob("lib/python3*/site-packages")
    return folder
