"""What a reload of the configuration came to, model by model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ringserve.errors import Code, ServingError


class ModelOutcome(NamedTuple):
    """`error`: why an added model has no version available; it stays configured, and is tried again."""

    name: str
    change: Literal["added", "removed", "changed", "kept"]
    error: ServingError | None = None


def failure(outcomes: Sequence[ModelOutcome]) -> ServingError | None:
    """In upstream's words: the models that did not come up, None if all did."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return None
    texts = "".join(f"{{{outcome.error.message if outcome.error else ''}}}, " for outcome in failed)
    return ServingError(Code.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{texts}}}")
