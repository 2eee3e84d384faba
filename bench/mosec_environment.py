"""The environment that mosec runs in: its own, so that nothing of it is in this project's. Made once, in build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.topology import SkippedError

_FOLDER: Final = Path(__file__).resolve().parents[1] / "build" / "bench-mosec"
_PACKAGES: Final = ("mosec>=0.9", "numpy", "orjson")
_SECONDS: Final = 300.0  # for each command
_FAILED: Final = "mosec's environment can't be made, which takes the package registry"


def mosec_python(folder: Path = _FOLDER) -> Path:
    """The environment's interpreter. Raises SkippedError when the environment can't be made, as without a network."""
    python = folder / "bin" / "python"
    installed = folder / "installed"  # written last: one that was cut short is made anew
    wanted = "\n".join(_PACKAGES)
    if not installed.is_file() or installed.read_text(encoding="utf-8") != wanted:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_PACKAGES])
        installed.write_text(wanted, encoding="utf-8")
    return python


def mosec_version(python: Path) -> str:
    return _run([str(python), "-c", "from importlib.metadata import version; print(version('mosec'))"]).strip()


def _run(command: list[str]) -> str:
    """What it prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SkippedError(f"{_FAILED}: {error}") from error
    if done.returncode:
        raise SkippedError(f"{_FAILED}: {' '.join(command[1:4])}: {_end(done.stderr)}")
    return done.stdout


def _end(text: str) -> str:
    """The last line that says anything: pip's reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-500:] if lines else "it did not say why"
