"""Names and versions as callers pass them, checked before anything is sent."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ringserve.client.operations import Which
from ringserve.errors import Code, ServingError
from ringserve.model_spec_writer import model_spec_field, text_field


def checked_which(model: str, version: int | None, label: str | None, signature: str = "") -> Which:
    """Any type of whole number is a version. Raises ServingError (INVALID_ARGUMENT) for what no ModelSpec can say."""
    if type(model) is type(signature) is str and type(version) in _VERSIONS and type(label) in _LABELS:
        return _which(model, version, label, signature)
    model_spec_field(model, version, label, signature)
    return model, None if version is None else int(operator.index(version)), label


def checked_name(name: str) -> str:
    """Raises ServingError (INVALID_ARGUMENT) for what is no text with a UTF-8 form."""
    if type(name) is not str or not name.isascii():
        text_field(b"", name)
    return name


def checked_outputs(outputs: Sequence[str] | None) -> tuple[str, ...]:
    """(): all of them. Raises ServingError (INVALID_ARGUMENT)."""
    if outputs is None:
        return ()
    if isinstance(outputs, str | bytes) or not isinstance(outputs, Iterable):
        raise ServingError(Code.INVALID_ARGUMENT, "outputs is a list of names")
    return tuple([checked_name(name) for name in outputs])


_VERSIONS = (int, type(None))  # the cache takes equal things of other types for the same
_LABELS = (str, type(None))


@lru_cache(maxsize=1024)
def _which(model: str, version: int | None, label: str | None, signature: str) -> Which:
    model_spec_field(model, version, label, signature)
    return model, version, label
