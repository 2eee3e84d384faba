"""Models that take serialised tf.Examples, with outputs that classify and regress can read, and such that they can't."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from built_model import Builder, BuiltModel, Outputs, Tensor, graph

_FEATURES = {
    "x": tf.io.FixedLenFeature([1], tf.float32),
    "who": tf.io.FixedLenFeature([1], tf.string, default_value=["nobody"]),
    "count": tf.io.FixedLenFeature([1], tf.int64, default_value=[0]),
}

_Reader = Callable[[Tensor, Tensor, Tensor], Outputs]


def _of_examples(read: _Reader) -> Any:
    """`read` gets the features' columns, each of shape [n, 1]."""

    def serve(inputs: Tensor) -> Outputs:
        features = tf.io.parse_example(inputs, _FEATURES)
        return read(features["x"], features["who"], features["count"])

    return graph(serve, inputs=tf.TensorSpec([None], tf.string))


def _classes(who: Tensor) -> Tensor:
    return tf.concat([who, tf.strings.upper(who)], 1)


def _scores(x: Tensor) -> Tensor:
    return tf.concat([x, 1.0 - x], 1)


def examples() -> BuiltModel:
    """A signature for each kind of answer; the first ones are right."""
    readers: dict[str, _Reader] = {
        "serving_default": lambda x, who, count: {"classes": _classes(who), "scores": _scores(x)},
        "classes": lambda x, who, count: {"classes": _classes(who)},
        "scores": lambda x, who, count: {"scores": _scores(x)},
        "value": lambda x, who, count: {"outputs": x},
        "flat_value": lambda x, who, count: {"outputs": tf.squeeze(x + tf.cast(count, tf.float32), 1)},
        "uneven": lambda x, who, count: {"classes": _classes(who), "scores": x},
        "flat_scores": lambda x, who, count: {"scores": tf.squeeze(x, 1)},
        "double_scores": lambda x, who, count: {"scores": tf.cast(x, tf.float64)},
        "one_score": lambda x, who, count: {"scores": x[:1]},
        "three": lambda x, who, count: {"classes": who, "scores": x, "more": x},
        "neither": lambda x, who, count: {"y": x},
        "wide_value": lambda x, who, count: {"outputs": _scores(x)},
        "whole_value": lambda x, who, count: {"outputs": count},
        "one_value": lambda x, who, count: {"outputs": x[:1]},
    }
    return BuiltModel({name: _of_examples(read) for name, read in readers.items()})


MODELS: dict[str, dict[str, Builder]] = {"examples": {"1": examples}}
