"""Signatures: what a servable can be asked, by name; sent from workers to the supervisor to front ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ringserve.default_value import DefaultValue
from ringserve.tensor import BY_NAME, DType, dtype_of

DEFAULT_SIGNATURE: Final = "serving_default"
PREDICT_METHOD: Final = "tensorflow/serving/predict"

Shape = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: `alias` is its key in the signature, `name` the graph's tensor behind it.

    `shape` has -1 for unknown dimensions and is None for an unknown rank.
    """

    alias: str
    name: str
    dtype: DType
    shape: tuple[int, ...] | None

    def to_wire(self) -> list[Any]:
        return [self.alias, self.name, self.dtype.number, None if self.shape is None else list(self.shape)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> TensorSpec:
        alias, name, dtype, shape = wire
        return cls(alias, name, dtype_of(dtype), None if shape is None else tuple(shape))

    @property
    def row(self) -> tuple[int, ...] | None:
        """The shape of one row where the first dimension is unknown and all others are known, else None."""
        shape = self.shape
        if not shape or shape[0] != -1 or min(shape[1:], default=0) < 0:
            return None
        return shape[1:]


@dataclass(frozen=True, slots=True)
class Signature:
    """A way to call a servable. `inputs` and `outputs` are sorted by alias: their order is the lanes' order.

    `defaults`: of inputs that requests may leave out, sorted by alias too.
    """

    name: str
    method: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    defaults: tuple[DefaultValue, ...] = field(default=(), kw_only=True)

    def to_wire(self) -> list[Any]:
        wire = [
            self.name,
            self.method,
            [t.to_wire() for t in self.inputs],
            [t.to_wire() for t in self.outputs],
        ]
        if self.defaults:
            wire.append([default.to_wire() for default in self.defaults])
        return wire

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Signature:
        name, method, inputs, outputs, *defaults = wire
        return cls(
            name,
            method,
            tuple(TensorSpec.from_wire(t) for t in inputs),
            tuple(TensorSpec.from_wire(t) for t in outputs),
            defaults=tuple(DefaultValue.from_wire(default) for found in defaults for default in found),
        )

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, tuple[str, Shape]],
        outputs: Mapping[str, tuple[str, Shape]],
        name: str = DEFAULT_SIGNATURE,
    ) -> Signature:
        """For servables without a graph: tensors by alias, each a type's name ("float") and a shape as in `TensorSpec`.

        Raises KeyError for a type that there is not.
        """

        def specs(tensors: Mapping[str, tuple[str, Shape]]) -> tuple[TensorSpec, ...]:
            named = sorted(tensors.items())
            return tuple(TensorSpec(alias, f"{alias}:0", BY_NAME[dtype], shape) for alias, (dtype, shape) in named)

        return cls(name, PREDICT_METHOD, specs(inputs), specs(outputs))
