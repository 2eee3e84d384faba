"""Models that the benchmark makes for itself: exported once, to build/bench, each by a process of its own.

This one never loads TensorFlow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

BUILD: Final = Path(__file__).resolve().parents[1] / "build" / "bench"
_SECONDS: Final = 300.0


def exported_model(folder: Path, script: str, *arguments: str) -> Path:
    """The version folder; where it is not there, `script` is run with these arguments and the folder to write to.

    Raises RuntimeError when it can't be made.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as scratch:
            _export(folder.parent.name, script, [*arguments, str(Path(scratch) / "1")])
            try:
                (Path(scratch) / "1").rename(folder)
            except OSError:  # another benchmark was quicker
                if not folder.is_dir():
                    raise
    return folder


def _export(name: str, script: str, arguments: list[str]) -> None:
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{name} could not be exported: {done.stderr.strip()[-2000:]}")
