"""Results of classify and regress to JSON."""

from __future__ import annotations

import json
from itertools import repeat
from typing import Any, Final

import numpy as np
import orjson

from frontend.tensors import Array
from ringserve.classification import Classification
from ringserve.errors import Code, ServingError

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


def encode_classification(result: Classification) -> bytes:
    """For each example a list of pairs of label and score. Raises ServingError (INVALID_ARGUMENT) where there is no example.

    Labels that are no UTF-8 have the bytes in question replaced.
    """
    if not result.examples:
        raise ServingError(Code.INVALID_ARGUMENT, "Cannot convert empty ClassificationResults to JSON")
    scores, finite = ([0.0] * (result.examples * result.classes), True) if result.scores is None else _numbers(result.scores)
    pairs = list(zip(_texts(result.labels) if result.labels is not None else repeat(""), scores, strict=False))
    step = result.classes
    rows = [pairs[at : at + step] for at in range(0, len(pairs), step)] if step else [[]] * result.examples
    return _written({"results": rows}, finite)


def encode_regression(values: Array) -> bytes:
    """One number for each example. Raises ServingError (INVALID_ARGUMENT) where there is none."""
    if not len(values):
        raise ServingError(Code.INVALID_ARGUMENT, "Cannot convert empty RegressionResults to JSON")
    if bool(np.isfinite(values).all()):
        return orjson.dumps({"results": np.ascontiguousarray(values)}, option=_NUMPY)
    return _written({"results": _numbers(values)[0]}, False)


def _texts(labels: list[bytes]) -> Any:
    """Most labels come again and again: each is decoded once."""
    texts = {label: label.decode("utf-8", "replace") for label in set(labels)}
    return map(texts.__getitem__, labels)


def _numbers(values: Array) -> tuple[list[float], bool]:
    """32-bit floats as the doubles whose texts are shortest (0.1, not 0.10000000149011612), and whether all are finite."""
    numbers: list[Any] = orjson.loads(orjson.dumps(np.ascontiguousarray(values), option=_NUMPY))
    if bool(np.isfinite(values).all()):
        return numbers, True
    return [float(value) if number is None else number for number, value in zip(numbers, values, strict=True)], False


def _written(document: dict[str, Any], finite: bool) -> bytes:
    """NaN and Infinity as bare words, as upstream writes them."""
    return orjson.dumps(document) if finite else json.dumps(document).encode()
