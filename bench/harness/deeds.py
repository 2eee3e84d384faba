"""Kill a worker, switch a version: what the chaos switches do to a server, each as a deed of chaos.py."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.harness.chaos import Deed
from bench.version_folders import VersionFolders
from ringserve.admin_client import AdminClient

_LOOK: Final = 0.02  # s; between two looks at whether something has happened


def kill_process(pid: int) -> Deed:
    """SIGKILL."""

    def deed(_: threading.Event) -> Iterator[str]:
        os.kill(pid, signal.SIGKILL)
        yield f"process {pid} killed"

    return deed


def kill_worker(admin: AdminClient) -> Deed:
    """The first one, with SIGKILL; says too when another one has taken its place."""

    def deed(over: threading.Event) -> Iterator[str]:
        worker = _workers(admin)[0]
        os.kill(worker["pid"], signal.SIGKILL)
        yield f"{worker['title']} killed"
        while not over.wait(_LOOK):
            now = _workers(admin)[0]
            if now["state"] == "ready" and now["pid"] != worker["pid"]:
                yield f"{worker['title']} is back"
                return

    return deed


def switch_version(admin: AdminClient, model: str, version: int, label: str = "") -> Deed:
    """The version is loaded where it is not yet, then the label is pointed at it, or without one all others are unloaded."""

    def deed(_: threading.Event) -> Iterator[str]:
        (entry,) = admin.call("status", model=model)["models"]
        served = [each["version"] for each in entry["versions"] if each["state"] == "AVAILABLE"]
        yield f"switch to version {version} begins"
        if version not in served:
            admin.call("load", model=model, version=version)
            yield f"version {version} is loaded"
        if label:
            admin.call("set_label", model=model, label=label, versions={str(version): 1.0})
            yield f"label {label} points at version {version}"
            return
        for other in served:
            if other != version:
                admin.call("unload", model=model, version=other)
                yield f"version {other} is unloaded"

    return deed


def publish_version(base: Path) -> Deed:
    """The newest version in this base path appears once more, with the next number, for a server that looks for such.

    It stays there. Raises ValueError when there is none.
    """
    _newest(base)

    def deed(_: threading.Event) -> Iterator[str]:
        newest = _newest(base)
        VersionFolders(base, base / str(newest)).publish(newest + 1)
        yield f"version {newest + 1} is published"

    return deed


def _workers(admin: AdminClient) -> list[dict[str, Any]]:
    workers: list[dict[str, Any]] = admin.call("status")["workers"]
    return workers


def _newest(base: Path) -> int:
    found = [int(entry.name) for entry in base.glob("[0-9]*") if entry.name.isdecimal()] if base.is_dir() else []
    if not found:
        raise ValueError(f"{base} holds no version")
    return max(found)
