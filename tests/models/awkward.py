"""Models whose inputs or outputs JSON has trouble with."""

import tensorflow as tf
from built_model import Builder, BuiltModel, Outputs, Tensor, floats, graph, served

_UNWRITABLE = {"half": tf.float16, "bfloat16": tf.bfloat16, "uint16": tf.uint16, "complex64": tf.complex64}


def unwritable() -> BuiltModel:
    """Floats as types that JSON can't carry, a signature for each; and outputs of different lengths."""

    def cast_to(dtype: tf.DType) -> Tensor:
        return graph(lambda x: {"y": tf.cast(x, dtype)}, x=floats(None))

    signatures = {name: cast_to(dtype) for name, dtype in _UNWRITABLE.items()}
    signatures["uneven"] = graph(lambda x: {"first": x[:1], "all": tf.identity(x)}, x=floats(None))
    signatures["partly_scalar"] = graph(lambda x: {"sum": tf.reduce_sum(x), "all": tf.identity(x)}, x=floats(None))
    signatures["serving_default"] = graph(lambda x: {"y": tf.identity(x)}, x=floats(None))
    return BuiltModel(signatures)


def two_texts() -> BuiltModel:
    """Two strings, joined."""

    def serve(a: Tensor, b: Tensor) -> Outputs:
        return {"joined": tf.strings.join([a, b])}

    return served(serve, a=tf.TensorSpec([None], tf.string), b=tf.TensorSpec([None], tf.string))


def named_b64() -> BuiltModel:
    """The length of an input whose name means something else in JSON."""
    return served(lambda b64: {"length": tf.strings.length(b64)}, b64=tf.TensorSpec([None], tf.string))


MODELS: dict[str, dict[str, Builder]] = {
    "unwritable": {"1": unwritable},
    "two_texts": {"1": two_texts},
    "named_b64": {"1": named_b64},
}
