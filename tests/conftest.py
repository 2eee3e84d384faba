"""Fixtures for all tests: exported models, made once a run."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

_MAKER = Path(__file__).parent / "models" / "make_models.py"

# How long an example takes says nothing on a machine that does something else as well.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that are no text go by their argument's name: gzip writes the time into what it packs, and processes
    that share a run must collect the same names."""
    return argname if isinstance(val, bytes) and not (val.isascii() and val.decode("ascii").isprintable()) else None


def pytest_collection_finish() -> None:
    """Thousands of collected tests are no garbage: the collector, which some tests call, need not look at them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """The memory of lanes has a descriptor, and there are not many of these everywhere."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels, `<name>/<version>/`: which there are is said in tests/models/make_models.py."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, str(_MAKER), str(folder)], check=True, capture_output=True, timeout=120)
    return folder
