"""Environments for what the benchmark compares or measures with: each its own, so that nothing of it is in this project's.

They are made once, in build.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.topology import SkippedError

BUILD: Final = Path(__file__).resolve().parents[1] / "build"
_SECONDS: Final = 300.0  # for each command


def environment_python(folder: Path, packages: Sequence[str], whose: str, interpreter: str = sys.executable) -> Path:
    """The interpreter of an environment with these packages, made from `interpreter`, which need not have pip.

    Raises SkippedError, with the name of `whose` environment it is, when it can't be made, as without a network.
    """
    python = folder / "bin" / "python"
    installed = folder / "installed"  # written last: one that was cut short is made anew
    wanted = "\n".join(packages)
    if not installed.is_file() or installed.read_text(encoding="utf-8") != wanted:
        why = f"{whose}'s environment can't be made, which takes the package registry"
        install = ["install", "--quiet", "--disable-pip-version-check", *packages]
        run_or_skip([interpreter, "-m", "venv", "--clear", "--without-pip", str(folder)], why)
        run_or_skip([sys.executable, "-m", "pip", "--python", str(python), *install], why)
        installed.write_text(wanted, encoding="utf-8")
    return python


def run_or_skip(command: list[str], why: str) -> str:
    """What the command prints. Raises SkippedError, saying `why` and what it complained of, when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SkippedError(f"{why}: {error}") from error
    if done.returncode:
        raise SkippedError(f"{why}: {' '.join(command[1:4])}: {last_line(done.stderr)}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line that says anything: a tool's reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-500:] if lines else "it did not say why"
