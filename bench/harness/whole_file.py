"""Files that a reader sees as they were before or as they are after, never in between."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write the file, and its folder where there is none. Raises OSError, and leaves what was there before.

    Bytes of a command line that are no text, which Python has as lone surrogates, are written as escapes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
