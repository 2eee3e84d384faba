"""The key of requests that are to get the same version of a label, where the label splits them among several."""

from __future__ import annotations

import re
from typing import Final

from ringserve.client.transport import CallMetadata
from ringserve.errors import Code, ServingError

_NAME: Final = "x-ringserve-key"
_SENDABLE: Final = re.compile(r"([!-~]([ -~]*[!-~])?)?")  # gRPC's rule; spaces at the ends may get lost on the way


def beside(key: str | None) -> CallMetadata:
    """What a call says beside its message; None: no key. Raises ServingError (INVALID_ARGUMENT)."""
    if key is None:
        return ()
    if not isinstance(key, str) or not _SENDABLE.fullmatch(key):
        text = f"A key is printable ASCII text without spaces at its ends, not {key!r:.100}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    return ((_NAME, key),)
