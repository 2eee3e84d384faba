"""Signatures that a server has told, for as long as they are believed."""

from __future__ import annotations

import time
from typing import Final

from ringserve.client.answers import Metadata
from ringserve.client.operations import Which
from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE, Signature

_KEPT: Final = 30.0  # seconds: a new version may have others
_MOST_KEPT: Final = 1024


class SignatureNeeded(Exception):
    """The inputs don't say all, and nobody has asked for the signatures yet."""


class KnownSignatures:
    """By model, and version or label."""

    def __init__(self) -> None:
        self._known: dict[Which, tuple[float, Metadata]] = {}

    def find(self, which: Which, name: str) -> Signature:
        """Raises SignatureNeeded where the server is to be asked, ServingError where there is no such signature."""
        asked_at, metadata = self._known.get(which, (0.0, None))
        if metadata is None or time.monotonic() - asked_at > _KEPT:
            raise SignatureNeeded
        return named_signature(metadata, name)

    def keep(self, which: Which, metadata: Metadata) -> None:
        """What the server has answered just now."""
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known[which] = time.monotonic(), metadata


def named_signature(metadata: Metadata, name: str) -> Signature:
    """`name`: "" is the default one. Raises ServingError in the words of a server, which would say the same."""
    name = name or DEFAULT_SIGNATURE
    signature = metadata.signatures.get(name)
    if signature is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return signature
