"""Dicts of features to serialised tf.Examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ringserve import example_bytes
from ringserve.errors import Code, ServingError

#: Features by name, each a number, text or bytes, or a list or one-dimensional array of them; or an Example that is
#: serialised already.
Example = Mapping[str, Any] | bytes


def serialised(examples: Iterable[Example]) -> list[bytes]:
    """Raises ServingError (INVALID_ARGUMENT) for what no feature can hold."""
    if isinstance(examples, Mapping | bytes | str):
        raise _invalid("examples are a list of dicts, one for each example")
    return [one_serialised(example) for example in examples]


def one_serialised(example: Example) -> bytes:
    if isinstance(example, bytes):
        return example
    if not isinstance(example, Mapping):
        raise _invalid(f"an example is a dict of features or a serialised tf.Example, not {type(example).__name__}")
    pieces = []
    for name, value in example.items():
        if not isinstance(name, str):
            raise _invalid(f"a feature's name is text, not {type(name).__name__}")
        pieces.append(example_bytes.entry(example_bytes.made_name(_encoded(name)), _feature(name, value)))
    return example_bytes.example(pieces)


def _feature(name: str, value: Any) -> bytes:
    values = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    values = list(values) if isinstance(values, list | tuple) else [values]
    if not values:
        return example_bytes.NOTHING
    if all(isinstance(one, str | bytes) for one in values):
        return example_bytes.texts([one if isinstance(one, bytes) else _encoded(one) for one in values])
    if all(isinstance(one, int) for one in values):  # bools are, too
        try:
            return example_bytes.integers(values)
        except OverflowError:
            raise _invalid(f"feature {name!r} has an integer of more than 64 bits") from None
    if all(isinstance(one, int | float) for one in values):
        return example_bytes.floats(values)
    raise _invalid(f"feature {name!r} is neither numbers nor texts, or both")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(f"{text!r} has no UTF-8 form") from error


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
