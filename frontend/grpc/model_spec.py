"""Which version of which model a message asks for."""

from __future__ import annotations

from typing import Any

from frontend.catalog import ModelSpec
from ringserve.errors import Code, ServingError


def model_spec(request: Any) -> ModelSpec:
    """Of any request message with a `model_spec`. Raises ServingError (INVALID_ARGUMENT) with upstream's texts."""
    if not request.HasField("model_spec"):
        raise ServingError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise ServingError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        return ModelSpec(spec.name, version=spec.version.value)
    return ModelSpec(spec.name, label=spec.version_label if choice else None)
