"""Which version of which model a message asks for."""

from __future__ import annotations

from typing import Any

from frontend.catalog import ModelSpec
from ringserve.errors import Code, ServingError
from ringserve.predict_message import SentModelSpec


def model_spec(request: Any) -> ModelSpec:
    """Of any request message with a `model_spec`. Raises ServingError (INVALID_ARGUMENT) with upstream's texts."""
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    return checked(SentModelSpec(spec.name, version, label, spec.signature_name) if request.HasField("model_spec") else None)


def checked(sent: SentModelSpec | None) -> ModelSpec:
    """Raises ServingError (INVALID_ARGUMENT) with upstream's texts."""
    if sent is None:
        raise ServingError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    if not sent.name:
        raise ServingError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    return ModelSpec(sent.name, sent.version, sent.label)
