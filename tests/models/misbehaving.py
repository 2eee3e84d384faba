"""Models that are slow, that fail, or that take their process down."""

import numpy as np
import tensorflow as tf
from built_model import Builder, BuiltModel, Outputs, Tensor, floats, served

# About 0.3 s of one core: the matrices are too small for TensorFlow to share out their product.
_SLOW_STEPS = 45_000
_SLOW_SIZE = 32

_LETHAL = 666.0


def slow() -> BuiltModel:
    """The input as it came, after some 0.3 s of arithmetic."""
    weights = np.random.default_rng(0).normal(0, 0.1, (_SLOW_SIZE, _SLOW_SIZE)).astype(np.float32)

    def serve(x: Tensor) -> Outputs:
        # The loop starts from the input and the answer depends on its result, or the graph optimiser, which
        # cannot know that the total is never negative, would compute it beforehand or leave it out.
        start = tf.fill([_SLOW_SIZE, _SLOW_SIZE], tf.tanh(tf.reduce_sum(x)))
        _, state = tf.while_loop(
            lambda step, _: step < _SLOW_STEPS,
            lambda step, state: (step + 1, tf.tanh(state @ weights)),
            (tf.constant(0), start),
        )
        total = tf.reduce_sum(tf.abs(state))
        return {"y": tf.where(total < 0.0, x + 1.0, x)}

    return served(serve, x=floats(None))


def fails_on_negative() -> BuiltModel:
    """Square roots, and an InvalidArgument error where a row has none."""

    def serve(x: Tensor) -> Outputs:
        check = tf.debugging.assert_greater_equal(x, 0.0, message="negative input")
        with tf.control_dependencies([check]):
            return {"y": tf.sqrt(x)}

    return served(serve, x=floats(None))


def kills_worker() -> BuiltModel:
    """The input as it came, but the process aborts where the first row is 666."""

    def serve(x: Tensor) -> Outputs:
        def die() -> Tensor:
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="lethal input")]):
                return tf.identity(x)

        # A slice, as an empty input has no first row.
        lethal = tf.reduce_any(tf.equal(x[:1], _LETHAL))
        return {"y": tf.cond(lethal, die, lambda: tf.identity(x))}

    return served(serve, x=floats(None))


MODELS: dict[str, dict[str, Builder]] = {
    "slow": {"1": slow},
    "fails_on_negative": {"1": fails_on_negative},
    "kills_worker": {"1": kills_worker},
}
