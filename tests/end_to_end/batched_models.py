"""Models with batching parameters of their own, and what a server counts of their batches."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from end_to_end.model_config_file import entry
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from ringserve.signature import DEFAULT_SIGNATURE

#: Each version has its own parameters, or is not batched.
FLAGS: Final = ("--enable_batching", "--enable_per_model_batching_parameters", "--max_num_load_retries=0")
#: What is not full waits, for longer than any test runs.
NEVER: Final = "batch_timeout_micros { value: 2147483647 }"

_COUNT_LIMIT: Final = 15


def most(rows: int, more: str = NEVER) -> str:
    """Parameters: at most so many rows a batch."""
    return f"max_batch_size {{ value: {rows} }} max_enqueued_batches {{ value: 1000000 }} {more}"


def split(rows: int, of: int, more: str = NEVER) -> str:
    """Parameters: requests of at most `of` rows are cut into batches of at most `rows`."""
    sizes = f"max_execution_batch_size {{ value: {rows} }} enable_large_batch_splitting {{ value: true }}"
    return most(of, f"{sizes} {more}")


def sizes(*allowed: int, more: str = NEVER) -> str:
    """Parameters: batches are filled up to one of these sizes."""
    return most(allowed[-1], " ".join(f"allowed_batch_sizes: {size}" for size in allowed) + f" {more}")


def batched(name: str, source: Path, base: Path, parameters: str = "", versions: Iterable[int] = (1,)) -> str:
    """An entry of a model config file for a copy of a model, in the folder `base`, its versions with these parameters."""
    for version in map(str, versions):
        shutil.copytree(source / version, base / version)
        if parameters:
            (base / version / "batching_params.pbtxt").write_text(parameters)
    return entry(name, base, "model_version_policy { all {} }")


@dataclass
class Batches:
    """Of a signature, on all devices."""

    batches: int = 0
    rows: int = 0  # of requests
    padding: int = 0  # rows that filled them up
    retried: int = 0  # that failed as a whole
    sizes: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)  # by why
    rejected: Counter[str] = field(default_factory=Counter)  # requests that were in none, by why

    @classmethod
    def of(cls, server: RunningServer, model: str, signature: str = DEFAULT_SIGNATURE, version: int = 1) -> Self:
        """Since the server started."""
        found = cls()
        for device in (entry := explained(server, model, signature, version))["devices"]:
            found.batches += device["batches"]
            found.rows += device["rows"]
            found.padding += device["padding_rows"]
            found.retried += device["retried"]
            found.sizes += device["sizes"]
            found.closed += device["closed"]
        found.rejected += entry["rejected"]
        return found

    def __sub__(self, before: Batches) -> Batches:
        return Batches(
            self.batches - before.batches,
            self.rows - before.rows,
            self.padding - before.padding,
            self.retried - before.retried,
            self.sizes - before.sizes,
            self.closed - before.closed,
            self.rejected - before.rejected,
        )


def explained(server: RunningServer, model: str, signature: str = DEFAULT_SIGNATURE, version: int = 1) -> dict[str, Any]:
    """A signature's entry in `ringserve models explain --json`."""
    versions = server.admin.call("explain", model=model)["versions"]
    (entry,) = [
        entry
        for known in versions
        if known["version"] == version
        for entry in known["signatures"]
        if entry["signature"] == signature
    ]
    return dict(entry)


class BatchCount:
    """Of a signature's batches since the last look."""

    def __init__(self, server: RunningServer, model: str, signature: str = DEFAULT_SIGNATURE, version: int = 1) -> None:
        self._of = server, model, signature, version
        self._before = Batches.of(*self._of)

    def new(self, rows: int) -> Batches:
        """Those since the last look, once so many rows have been run: a batch is counted after it was answered."""
        found = Batches()

        def ran() -> bool:
            nonlocal found
            found = Batches.of(*self._of) - self._before
            return found.rows >= rows

        wait_until(ran, _COUNT_LIMIT, lambda: f"{rows} rows run, only {found}")
        assert found.rows == rows
        self._before = Batches.of(*self._of)
        return found
