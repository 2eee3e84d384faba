"""Which signature a JSON body asks for."""

from __future__ import annotations

from typing import Any

from frontend.rest.json_dump import dump
from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE


def signature_name(document: dict[str, Any]) -> str:
    """The default one's name where the body has none or an empty one.

    Raises ServingError (INVALID_ARGUMENT) with upstream's text for one that is no string.
    """
    name = document.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        text = "not formatted correctly. 'signature_name' key must be a string value."
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(document)} {text}")
    return name or DEFAULT_SIGNATURE
