"""Named inputs that may stand in a body more than once: the first one counts then, as upstream has it for columns.

orjson keeps the last one. So names are counted in the text, which costs less than to look at every member.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from operator import contains
from typing import Any, Final

from ringserve.signature import TensorSpec

_BACKSLASH: Final = ord("\\")
_HIDDEN: Final = re.compile(rb"\\u00[2-7]")  # how a part of a name in ASCII may be written as well


def may_repeat(body: bytes, document: dict[str, Any], inputs: Sequence[TensorSpec]) -> bool:
    """Is it possible that an object of named inputs has two of one name? True also where a name stands elsewhere."""
    value = document.get("instances")
    if type(value) is list:
        if not value or type(value[0]) is not dict:
            return False
        named = value
    else:
        value = document.get("inputs")
        if type(value) is not dict:
            return False
        named = [value]
    for spec in inputs:
        times = body.count(_quoted(spec.alias))
        if times != len(named) and times != _holders(named, spec.alias):
            return True
    if _BACKSLASH not in body:
        return False
    return _HIDDEN.search(body) is not None or (b"\\u" in body and not all(spec.alias.isascii() for spec in inputs))


def _holders(values: Sequence[Any], name: str) -> int:
    """How many of the values are objects with a member of this name."""
    return sum(map(contains, [value for value in values if type(value) is dict], repeat(name)))


@lru_cache(maxsize=4096)
def _quoted(alias: str) -> bytes:
    return f'"{alias}"'.encode("utf-8", "surrogatepass")
