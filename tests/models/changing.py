"""Models that a run may change: what they answer depends on what they were asked before."""

import tensorflow as tf
from built_model import Builder, BuiltModel, Outputs, Tensor, floats, graph


def stateful_counter() -> BuiltModel:
    """How many runs there have been, this one included, once for each row."""
    module = tf.Module()
    module.runs = tf.Variable(0, dtype=tf.int64, trainable=False)

    def serve(x: Tensor) -> Outputs:
        return {"y": tf.fill(tf.shape(x), module.runs.assign_add(1))}

    return BuiltModel({"serving_default": graph(serve, x=floats(None))}, module)


def keeps_input() -> BuiltModel:
    """The input of the run before: an assignment keeps the fed tensor's own memory."""
    module = tf.Module()
    module.last = tf.Variable(tf.zeros([0]), shape=[None], trainable=False)

    def serve(x: Tensor) -> Outputs:
        before = tf.identity(module.last.read_value())
        with tf.control_dependencies([before]):
            module.last.assign(x)
        return {"y": before}

    return BuiltModel({"serving_default": graph(serve, x=floats(None))}, module)


def keeps_positive() -> BuiltModel:
    """The input of the last run before this one with a positive row: the assignment hides in a function of a branch."""
    module = tf.Module()
    module.last = tf.Variable(tf.zeros([0]), shape=[None], trainable=False)

    def assign(x: Tensor) -> Tensor:
        module.last.assign(x)
        return tf.constant(True)

    keep = tf.function(assign)

    def serve(x: Tensor) -> Outputs:
        before = tf.identity(module.last.read_value())
        with tf.control_dependencies([before]):
            kept = tf.cond(tf.reduce_any(x > 0.0), lambda: keep(x), lambda: tf.constant(False))
        return {"y": before, "kept": kept}

    return BuiltModel({"serving_default": graph(serve, x=floats(None))}, module)


def trains() -> BuiltModel:
    """y = weight x, which starts at 1, and a signature that moves the weight towards given answers."""
    module = tf.Module()
    module.weight = tf.Variable(1.0)

    def serve(x: Tensor) -> Outputs:
        return {"y": module.weight * x}

    def train(x: Tensor, y: Tensor) -> Outputs:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((module.weight * x - y) ** 2)
        module.weight.assign_sub(0.1 * tape.gradient(loss, module.weight))
        return {"loss": loss}

    return BuiltModel(
        {"serving_default": graph(serve, x=floats(None)), "train": graph(train, x=floats(None), y=floats(None))}, module
    )


def table() -> BuiltModel:
    """Numbers by key, -1 where there is none; the signature `put` adds some, `size` says how many there are."""
    module = tf.Module()
    module.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, -1.0)
    keys = tf.TensorSpec([None], tf.int64)

    def find(keys: Tensor) -> Outputs:
        return {"y": module.table.lookup(keys)}

    def put(keys: Tensor, numbers: Tensor) -> Outputs:
        module.table.insert(keys, numbers)
        return {"size": module.table.size()}

    return BuiltModel(
        {
            "serving_default": graph(find, keys=keys),
            "put": graph(put, keys=keys, numbers=floats(None)),
            "size": graph(lambda: {"size": module.table.size()}),
        },
        module,
    )


MODELS: dict[str, dict[str, Builder]] = {
    "stateful_counter": {"1": stateful_counter},
    "keeps_input": {"1": keeps_input},
    "keeps_positive": {"1": keeps_positive},
    "trains": {"1": trains},
    "table": {"1": table},
}
