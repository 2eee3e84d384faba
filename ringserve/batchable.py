"""What TensorFlow Serving's batching checks of a request, in its words and its order."""

from __future__ import annotations

from collections.abc import Sequence

from ringserve.errors import Code, ServingError


def check_shapes(shapes: Sequence[Sequence[int]], most_rows: int) -> None:
    """Of a request's inputs; `most_rows` as of `check_rows`. Raises ServingError (INVALID_ARGUMENT)."""
    if not shapes:
        raise _wrong("Batching Run() must have at least one input tensor")
    for shape in shapes:
        if not shape:
            raise _wrong("Batching Run() input tensors must have at least one dimension")
        if shape[0] != shapes[0][0]:
            raise _wrong("Batching Run() input tensors must have equal 0th-dimension size")
    check_rows(shapes[0][0], most_rows)


def check_rows(rows: int, most_rows: int) -> None:
    """Of one request; `most_rows` 0: any number. Raises ServingError (INVALID_ARGUMENT)."""
    if 0 < most_rows < rows:
        raise _wrong(f"Task size {rows} is larger than maximum input batch size {most_rows}")


def _wrong(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
