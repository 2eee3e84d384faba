"""Versions of the platform gated:GatedLoader, whose loads take until a test lets them end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from end_to_end.plugin_modules.gated import OPEN

PLATFORM = "gated:GatedLoader"
#: For servers that are to find it.
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent / "plugin_modules")}


def open_gate(base: Path, version: int = 1) -> None:
    """Let the loads of a version go on."""
    (base / str(version) / OPEN).touch()


@contextmanager
def gated(base: Path) -> Iterator[Path]:
    """A base path with a closed version 1, opened at the end whatever happens: a server ends sooner so."""
    (base / "1").mkdir(parents=True)
    try:
        yield base
    finally:
        open_gate(base)
