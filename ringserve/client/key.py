"""The key of requests that are to get the same version of a label, where the label splits them among several."""

from __future__ import annotations

import re
from typing import Final

from ringserve.errors import Code, ServingError

_SENDABLE: Final = re.compile(r"([!-~]([ -~]*[!-~])?)?")  # gRPC's rule; spaces at the ends may get lost on the way


def checked_key(key: str | None) -> str | None:
    """None: no key. Raises ServingError (INVALID_ARGUMENT)."""
    if key is not None and (not isinstance(key, str) or not _SENDABLE.fullmatch(key)):
        text = f"A key is printable ASCII text without spaces at its ends, not {key!r:.100}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    return key
