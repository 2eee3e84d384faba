"""Models whose every output row depends on the same input row alone: safe to batch."""

import functools

import tensorflow as tf
from built_model import Builder, BuiltModel, Outputs, Tensor, floats, graph, served

IDENTITY_DTYPES = (
    tf.float16,
    tf.bfloat16,
    tf.float32,
    tf.float64,
    tf.int8,
    tf.int16,
    tf.int32,
    tf.int64,
    tf.uint8,
    tf.uint16,
    tf.uint32,
    tf.uint64,
    tf.bool,
    tf.string,
    tf.complex64,
    tf.complex128,
)

# TensorFlow's protocol has other names for these types than its Python.
_WIRE_NAMES = {"float16": "half", "float32": "float", "float64": "double"}


def half_plus(offset: float) -> BuiltModel:
    """y = 0.5 x + offset, with both numbers in variables."""
    module = tf.Module()
    module.slope = tf.Variable(0.5)
    module.offset = tf.Variable(offset)

    def serve(x: Tensor) -> Outputs:
        return {"y": module.slope * x + module.offset}

    return BuiltModel({"serving_default": graph(serve, x=floats(None))}, module)


def half_plus_two_2d() -> BuiltModel:
    """The same for rows of one number each."""
    return served(lambda x: {"y": 0.5 * x + 2.0}, x=floats(None, 1))


def identity() -> BuiltModel:
    """The input as it came, with a signature for each type."""

    def serve(x: Tensor) -> Outputs:
        return {"y": tf.identity(x)}

    signatures = {
        _WIRE_NAMES.get(dtype.name, dtype.name): graph(serve, x=tf.TensorSpec([None, 2], dtype)) for dtype in IDENTITY_DTYPES
    }
    signatures["serving_default"] = signatures["float"]
    return BuiltModel(signatures)


def two_inputs() -> BuiltModel:
    """Inputs and outputs of different types and ranks, which must have the same number of rows."""

    def serve(a: Tensor, b: Tensor) -> Outputs:
        added = a + tf.cast(b, tf.float32)[:, tf.newaxis]
        return {"sum": added, "count": tf.cast(b, tf.int64)}

    return served(serve, a=floats(None, 3), b=tf.TensorSpec([None], tf.int32))


def dynamic_image() -> BuiltModel:
    """The mean colour of images of any size."""
    return served(lambda x: {"mean": tf.reduce_mean(x, axis=[1, 2])}, x=floats(None, None, None, 3))


def text() -> BuiltModel:
    """Strings in and out, under a name that stands for text and one that stands for bytes."""

    def serve(x: Tensor) -> Outputs:
        upper = tf.strings.upper(x)
        return {"length": tf.strings.length(x), "upper": upper, "upper_bytes": tf.identity(upper)}

    return served(serve, x=tf.TensorSpec([None], tf.string))


def echo_big() -> BuiltModel:
    """Twelve mebibytes in and out for each row."""
    return served(lambda image: {"y": image * 2.0}, image=floats(None, 1024, 1024, 3))


MODELS: dict[str, dict[str, Builder]] = {
    "half_plus_two": {"1": functools.partial(half_plus, 2.0), "2": functools.partial(half_plus, 3.0)},
    "half_plus_two_2d": {"1": half_plus_two_2d},
    "identity": {"1": identity},
    "two_inputs": {"1": two_inputs},
    "dynamic_image": {"1": dynamic_image},
    "text": {"1": text},
    "echo_big": {"1": echo_big},
}
