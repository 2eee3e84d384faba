"""The environment that mosec runs in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.environment import BUILD, environment_python, run_or_skip

_FOLDER: Final = BUILD / "bench-mosec"
_PACKAGES: Final = ("mosec>=0.9", "numpy", "orjson")


def mosec_python(folder: Path = _FOLDER) -> Path:
    """The environment's interpreter. Raises SkippedError when the environment can't be made, as without a network."""
    return environment_python(folder, _PACKAGES, "mosec")


def mosec_version(python: Path) -> str:
    command = [str(python), "-c", "from importlib.metadata import version; print(version('mosec'))"]
    return run_or_skip(command, "mosec's version can't be told").strip()
