"""Models whose requests cannot be put together: rows matter to each other, or there are no rows."""

import tensorflow as tf
from built_model import Builder, BuiltModel, floats, served


def scalar() -> BuiltModel:
    """One number without any dimension, in and out."""
    return served(lambda x: {"y": 2.0 * x}, x=floats())


def no_inputs() -> BuiltModel:
    """Nothing in, the same three numbers out."""
    return served(lambda: {"y": tf.constant([1.0, 2.0, 3.0])})


def fixed_batch() -> BuiltModel:
    """Takes two rows, no more and no less."""
    return served(lambda x: {"y": x * 2.0}, x=floats(2, 3))


def batch_dependent() -> BuiltModel:
    """As many rows out as in, but each is measured against the mean of all."""
    return served(lambda x: {"y": x - tf.reduce_mean(x)}, x=floats(None))


def not_batch_major() -> BuiltModel:
    """One row out, however many came in."""
    return served(lambda x: {"y": tf.reduce_sum(x)[tf.newaxis]}, x=floats(None))


def data_dependent() -> BuiltModel:
    """As many rows out as there are different values in."""
    return served(lambda x: {"y": tf.unique(x).y}, x=tf.TensorSpec([None], tf.int32))


def random() -> BuiltModel:
    """Noise added to each row: another answer every time."""
    return served(lambda x: {"y": x + tf.random.normal(tf.shape(x))}, x=floats(None))


MODELS: dict[str, dict[str, Builder]] = {
    "scalar": {"1": scalar},
    "no_inputs": {"1": no_inputs},
    "fixed_batch": {"1": fixed_batch},
    "batch_dependent": {"1": batch_dependent},
    "not_batch_major": {"1": not_batch_major},
    "data_dependent": {"1": data_dependent},
    "random": {"1": random},
}
