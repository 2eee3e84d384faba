"""Addresses in gRPC's words."""

from __future__ import annotations

import os
from urllib.parse import quote


def unix_target(path: str) -> str:
    """A UNIX socket's; the path in any bytes. gRPC takes it for a URI: a plain `100%` or `a?b` would be another file."""
    return f"unix:{quote(os.fsencode(path))}"
