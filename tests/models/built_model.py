"""A model as the test catalogue builds it, before it is saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

Tensor = Any
Outputs = dict[str, Tensor]


def _new_module() -> Any:
    return tf.Module()


@dataclass(frozen=True)
class BuiltModel:
    """The graphs by signature, and the module that keeps the variables they use."""

    signatures: Mapping[str, Any]
    module: Any = field(default_factory=_new_module)


# Building is put off until the model is saved, so that a variable belongs to one model only.
Builder = Callable[[], BuiltModel]


def graph(function: Callable[..., Outputs], **inputs: Any) -> Any:
    """``function`` as a graph whose inputs have the given names, each a ``tf.TensorSpec``."""
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()]
    return tf.function(function, input_signature=named)


def served(function: Callable[..., Outputs], **inputs: Any) -> BuiltModel:
    """A model without variables whose one signature is ``serving_default``."""
    return BuiltModel({"serving_default": graph(function, **inputs)})


def floats(*dimensions: int | None) -> Any:
    """The spec of a float32 input; ``None`` is a dimension of any size."""
    return tf.TensorSpec(dimensions, tf.float32)
