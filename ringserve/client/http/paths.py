"""What is asked of a model, as a path of the REST API."""

from __future__ import annotations

from urllib.parse import quote

from ringserve.client.operations import Which
from ringserve.errors import Code, ServingError


def model_path(which: Which) -> str:
    """Of the model, or of its version or label. Raises ServingError (INVALID_ARGUMENT) for what no path can say."""
    model, version, label = which
    if not model:
        raise ServingError(Code.INVALID_ARGUMENT, "Missing model name in request.")  # in the server's words
    path = f"/v1/models/{_escaped(model)}"
    if version is not None:
        if version < 0:
            raise ServingError(Code.INVALID_ARGUMENT, f"A version is a number from 0 on, not {version}")
        return f"{path}/versions/{version}"
    if label is not None:
        if not label:
            raise ServingError(Code.INVALID_ARGUMENT, "A label has a name")
        return f"{path}/labels/{_escaped(label)}"
    return path


def ready_path(model: str) -> str:
    """Of the server, where `model` is empty."""
    return f"/readyz/{_escaped(model)}" if model else "/readyz"


def _escaped(name: str) -> str:
    return quote(name, safe="")
