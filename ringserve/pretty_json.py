"""JSON on a terminal."""

from __future__ import annotations

import json
from typing import Any


def print_json(payload: bytes | bytearray) -> None:
    """Or whatever text it is."""
    try:
        text = pretty(json.loads(payload))
    except (ValueError, RecursionError):
        text = payload.decode(errors="replace").rstrip()
    print_text(text)


def print_text(text: str) -> None:
    # A lone surrogate has no UTF-8 form; its escape is what the answer held, and still JSON.
    print(text.encode(errors="backslashreplace").decode())


def pretty(value: Any, indent: str = "") -> str:
    """JSON text with a line for each member, but a list of plain values on one line: rows stay rows."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        members = [f"{json.dumps(key, ensure_ascii=False)}: {pretty(member, inner)}" for key, member in value.items()]
        opening, closing = "{}"
    elif isinstance(value, list) and any(isinstance(member, list | dict) for member in value):
        members = [pretty(member, inner) for member in value]
        opening, closing = "[]"
    else:
        return json.dumps(value, ensure_ascii=False)
    lines = f",\n{inner}".join(members)
    return f"{opening}\n{inner}{lines}\n{indent}{closing}"
