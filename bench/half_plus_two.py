"""The model that the benchmark serves, y = 0.5 x + 2, and a request for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench.load import Target

NAME: Final = "half_plus_two"
_ROOT: Final = Path(__file__).resolve().parents[1]
_SECONDS: Final = 120.0
_ANSWER: Final[Any] = {"predictions": [2.5, 3.0, 4.5]}

# In a process of its own: this one never loads TensorFlow.
_EXPORT: Final = """
import sys
from pathlib import Path
from examples import half_plus_two
from examples.saved_model import export
export(half_plus_two.train(), Path(sys.argv[1]))
"""


def half_plus_two(folder: Path) -> Path:
    """The model's base path in `folder`; it is exported when it is not there.

    Raises RuntimeError when that fails, and when there is a version beside it, which servers would prefer.
    """
    base = folder.resolve() / NAME
    others = sorted(entry.name for entry in base.glob("[0-9]*") if entry.name != "1")
    if others:
        raise RuntimeError(f"{base} holds version {others[-1]} beside version 1, the one that is measured")
    if not (base / "1").is_dir():
        command = [sys.executable, "-c", _EXPORT, str(base / "1")]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"the model could not be exported: {done.stderr.strip()[-2000:]}")
    return base


def predict(port: int, model: str = NAME, version: int | None = None) -> Target:
    """Three floats to the REST endpoint on this port of a model that answers as half_plus_two."""
    which = "" if version is None else f"/versions/{version}"
    return Target(port, f"/v1/models/{model}{which}:predict", '{"instances":[1.0,2.0,5.0]}', _ANSWER)
