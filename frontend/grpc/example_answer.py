"""Results of classify and regress on the wire. ::

    message ClassificationResult { repeated Classifications classifications = 1; }
    message Classifications      { repeated Class classes = 1; }
    message Class                { string label = 1; float score = 2; }
    message RegressionResult     { repeated Regression regressions = 1; }
    message Regression           { float value = 1; }

As protobuf does, a label that is empty is left out, and so is a number that is zero, but not minus zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from frontend.tensors import Array
from ringserve.classification import Classification
from ringserve.model_spec_writer import model_spec_bytes
from ringserve.servable import ServableId
from ringserve.tensor_proto_writer import varint

_FIELD_1: Final = b"\x0a"  # tags of fields with a length
_FIELD_2: Final = b"\x12"
_SCORE_TAG: Final = b"\x15"
_NUMBER_BYTES: Final = 5  # of a score with its tag
_EMPTY: Final = _FIELD_1 + b"\x00"
_REGRESSION: Final = np.frombuffer(b"\x0a\x05\x0d", np.uint8)  # up to its number
_AT_ONCE: Final = 1 << 14  # classes: each takes some 100 bytes meanwhile
_MOST_HEADS: Final = 1 << 16  # labels that are remembered


def response(result: bytes, servable: ServableId, signature: str) -> bytes:
    """A ClassificationResponse or RegressionResponse, which are alike, with its serialised result."""
    spec = model_spec_bytes(servable.name, servable.version, None, signature)
    return b"".join((_FIELD_1, varint(len(result)), result, _FIELD_2, varint(len(spec)), spec))


def regression_result(values: Array) -> bytes:
    """One number for each example."""
    numbers = np.ascontiguousarray(values, "<f4").reshape(-1)
    written = np.empty((len(numbers), len(_REGRESSION) + 4), np.uint8)
    written[:, : len(_REGRESSION)] = _REGRESSION
    written[:, len(_REGRESSION) :] = numbers.view(np.uint8).reshape(-1, 4)
    bits = numbers.view("<u4")
    if bool(bits.all()):
        return written.tobytes()
    is_zero = bits == 0
    written[is_zero, 1] = 0
    kept = np.ones(written.shape, np.bool_)
    kept[is_zero, len(_EMPTY) :] = False
    return written[kept].tobytes()


def classification_result(result: Classification) -> bytes:
    """A label and a score for each class of each example. Labels that are no UTF-8 have the bytes in question replaced:
    no client could read a message with such a text.
    """
    if not result.classes:
        return _EMPTY * result.examples
    return b"".join(_chunks(result))


def _chunks(result: Classification) -> Iterator[bytes]:
    """Some examples at a time."""
    examples, classes, labels, scores = result
    heads = _Heads()
    alike: _AlikeRows | None = None
    step = max(_AT_ONCE // classes, 1)
    for at in range(0, examples, step):
        if len(heads) > _MOST_HEADS:
            heads.clear()
        begin, end = at * classes, min(at + step, examples) * classes
        names = [b""] * (end - begin) if labels is None else labels[begin:end]
        numbers = None if scores is None else np.ascontiguousarray(scores[begin:end], "<f4")
        if numbers is not None and end - begin > classes and bool(numbers.view("<u4").all()):
            alike = alike or _AlikeRows(names[:classes], heads)
            if alike.has(names):
                yield alike.written(numbers)
                continue
        yield from _one_by_one(names, numbers, classes, heads)


class _Heads(dict[bytes, tuple[bytes, bytes]]):
    """What there is of a Class with this label before its score, and all of it where the score is zero.

    Most labels come again and again: each is written once.
    """

    def __missing__(self, label: bytes) -> tuple[bytes, bytes]:
        text = label.decode("utf-8", "replace").encode()
        field = _FIELD_1 + varint(len(text)) + text if text else b""
        head = _FIELD_1 + varint(len(field) + _NUMBER_BYTES) + field + _SCORE_TAG
        found = self[label] = head, _FIELD_1 + varint(len(field)) + field
        return found


def _one_by_one(labels: list[bytes], scores: Array | None, classes: int, heads: _Heads) -> Iterator[bytes]:
    """Whole rows of labels; without scores all are zero."""
    if scores is None:
        written = [heads[label][1] for label in labels]
    else:
        raw = scores.tobytes()
        places = range(0, len(raw), 4)
        written = [heads[label][0] + raw[at : at + 4] for label, at in zip(labels, places, strict=True)]
        for zero in np.flatnonzero(scores.view("<u4") == 0).tolist():
            written[zero] = heads[labels[zero]][1]
    for at in range(0, len(written), classes):
        row = b"".join(written[at : at + classes])
        yield _FIELD_1 + varint(len(row))
        yield row


class _AlikeRows:
    """Rows that have the same labels differ in nothing but their scores, which are put into copies of one."""

    def __init__(self, labels: list[bytes], heads: _Heads) -> None:
        written = [heads[label][0] + bytes(4) for label in labels]
        content = b"".join(written)
        head = _FIELD_1 + varint(len(content))
        ends = np.cumsum([len(one) for one in written]) + len(head)
        self._labels = labels
        self._row = np.frombuffer(head + content, np.uint8)
        self._places = (ends[:, None] + np.arange(-4, 0)).reshape(-1)

    def has(self, labels: list[bytes]) -> bool:
        """Are whole rows of labels like these?"""
        return labels == self._labels * (len(labels) // len(self._labels))

    def written(self, scores: Array) -> bytes:
        """None of them may be zero."""
        rows = np.tile(self._row, (len(scores) // len(self._labels), 1))
        rows[:, self._places] = scores.view(np.uint8).reshape(len(rows), -1)
        return rows.tobytes()
