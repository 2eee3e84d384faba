"""Inputs to ask with: made up by a signature, and the same again with the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bench.harness.target import PreparationError
from ringserve.client.tensors import Array, Tensor, numpy_type, tensor_of
from ringserve.errors import ServingError
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import STRING

#: Inputs by alias.
Inputs = Mapping[str, Tensor]

_LETTERS: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz     ", np.uint8)
_TEXT_BYTES: Final = (8, 64)  # from, to


@dataclass(frozen=True, slots=True)
class Synthetic:
    """`rows` of a request; `shapes` by input, for what the signature leaves open: of the tensor, or of one row; `below`:
    whole numbers are from 0 to less than that; `count` different requests.
    """

    rows: int = 1
    shapes: Mapping[str, tuple[int, ...]] | None = None
    below: int = 100
    count: int = 16
    seed: int = 0

    def inputs(self, signature: Signature) -> list[Inputs]:
        """Raises PreparationError where a shape is not known, or does not fit."""
        given = dict(self.shapes or {})
        shapes = {spec.alias: self._shape(spec, given.pop(spec.alias, None)) for spec in signature.inputs}
        if given:
            raise PreparationError(f"the signature has no input {', '.join(given)}, only {', '.join(shapes) or 'none'}")
        random = np.random.default_rng(self.seed)
        return [
            {spec.alias: self._tensor(spec, shapes[spec.alias], random) for spec in signature.inputs}
            for _ in range(self.count)
        ]

    def _shape(self, spec: TensorSpec, given: tuple[int, ...] | None) -> tuple[int, ...]:
        declared = spec.shape
        if given is not None and declared is not None and len(given) == len(declared) - 1:
            given = (self.rows if declared[0] < 0 else declared[0], *given)
        if given is not None:
            if declared is not None and not _fits(given, declared):
                raise PreparationError(f"the shape {_text(given)} does not fit input {spec.alias!r}: {_text(declared)}")
            return given
        if declared is None:
            raise PreparationError(f"input {spec.alias!r} may have any shape: say which (--shape {spec.alias}:1,3)")
        if min(declared[1:], default=0) < 0:
            raise PreparationError(
                f"input {spec.alias!r} has the shape {_text(declared)}: say which it is to be"
                f" (--shape {spec.alias}:{','.join('128' if size < 0 else str(size) for size in declared[1:])})"
            )
        if declared and declared[0] >= 0 and self.rows not in (1, declared[0]):
            raise PreparationError(f"input {spec.alias!r} has the shape {_text(declared)}, not {self.rows} rows")
        return (self.rows if declared[0] < 0 else declared[0], *declared[1:]) if declared else ()

    def _tensor(self, spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Tensor:
        try:
            if spec.dtype is STRING:
                values = np.empty(int(np.prod(shape)), dtype=object)
                values[:] = [_string(random) for _ in range(len(values))]
                return tensor_of(values.reshape(shape))
            return tensor_of(_numbers(shape, numpy_type(spec.dtype), self.below, random))
        except ServingError as error:
            raise PreparationError(f"input {spec.alias!r}: {error.message}") from error


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """`input:4,128` as (input, shape). Raises ValueError."""
    alias, colon, sizes = text.rpartition(":")
    try:
        shape = tuple(int(size) for size in sizes.split(",")) if sizes else ()
    except ValueError:
        shape = (-1,)
    if not colon or not alias or min(shape, default=0) < 0:
        raise ValueError(f"{text!r} is no input and its shape, like input:4,128")
    return alias, shape


def _numbers(shape: tuple[int, ...], dtype: np.dtype[Any], below: int, random: np.random.Generator) -> Array:
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return random.integers(0, min(below, np.iinfo(dtype).max), shape).astype(dtype)
    if dtype.kind == "c":
        return (random.random(shape) + 1j * random.random(shape)).astype(dtype)
    return random.random(shape).astype(dtype)


def _string(random: np.random.Generator) -> bytes:
    return _LETTERS[random.integers(0, len(_LETTERS), random.integers(*_TEXT_BYTES))].tobytes()


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(shape) == len(declared) and all(known in (-1, size) for size, known in zip(shape, declared, strict=True))


def _text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(str(size) for size in shape)}]"
