"""Log lines: time, level, process, text, on standard error."""

from __future__ import annotations

import logging
import sys


def set_up(process: str, level: str) -> None:
    """Log lines of this process carry its name: `2026-01-31 12:00:00.123 INFO worker cpu:0: …`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s.%(msecs)03d %(levelname)s {process}: %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
