"""A folder that this process has to itself for a moment: two servers that start at once don't take each other's files."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ringserve.errors import Code, ServingError

_LOCK_SECONDS: Final = 2.0
_LOCK_POLL_SECONDS: Final = 0.02


@asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[None]:
    """Alone in the folder, among all who use this. Raises OSError where there is none, ServingError when it is kept."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await _wait_for_lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


async def _wait_for_lock(descriptor: int, folder: Path) -> None:
    try:
        async with asyncio.timeout(_LOCK_SECONDS):
            while not _try_lock(descriptor):
                await asyncio.sleep(_LOCK_POLL_SECONDS)
    except TimeoutError:
        raise ServingError(Code.FAILED_PRECONDITION, f"somebody keeps the folder {folder} locked") from None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
