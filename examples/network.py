"""A small classifier: dense layers, trained on the whole data set at once."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.quiet_tensorflow import tf

Tensor = Any
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_MOMENTUM = 0.9


class Network:
    """Dense layers with ReLU between them, over features shifted and scaled as the training data asks.

    The variables live on ``module``, which is what a SavedModel has to be given to find them.
    """

    def __init__(self, training: Floats, layer_sizes: Sequence[int], seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.module = tf.Module()
        self.module.mean = tf.Variable(training.mean(axis=0), trainable=False)
        # A feature that never varies has no scale: it is zero once shifted, whatever it is divided by.
        spread = np.where(training.std(axis=0) > 0, training.std(axis=0), 1).astype(np.float32)
        self.module.spread = tf.Variable(spread, trainable=False)
        sizes = [training.shape[1], *layer_sizes]
        self.module.kernels = [
            tf.Variable(generator.normal(0, np.sqrt(2 / rows), (rows, columns)).astype(np.float32))
            for rows, columns in pairwise(sizes)
        ]
        self.module.biases = [tf.Variable(np.zeros(columns, np.float32)) for columns in sizes[1:]]

    def logits(self, features: Tensor) -> Tensor:
        """One row of unscaled log probabilities for each row of features."""
        value = (features - self.module.mean) / self.module.spread
        last = len(self.module.kernels) - 1
        for index, (kernel, bias) in enumerate(zip(self.module.kernels, self.module.biases, strict=True)):
            value = value @ kernel + bias
            if index < last:
                value = tf.nn.relu(value)
        return value

    def fit(self, features: Floats, labels: Labels, steps: int, rate: float, decay: float) -> None:
        """Gradient descent with momentum; ``decay`` keeps the weights small."""
        variables = [*self.module.kernels, *self.module.biases]
        velocities = [tf.Variable(tf.zeros_like(variable)) for variable in variables]

        def descend(rows: Tensor, wanted: Tensor) -> None:
            for _ in tf.range(steps):
                with tf.GradientTape() as tape:
                    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, self.logits(rows))
                    penalty = tf.add_n([tf.nn.l2_loss(kernel) for kernel in self.module.kernels])
                    loss = tf.reduce_mean(losses) + decay * penalty
                slopes = tape.gradient(loss, variables)
                for variable, velocity, slope in zip(variables, velocities, slopes, strict=True):
                    velocity.assign(_MOMENTUM * velocity - rate * slope)
                    variable.assign_add(velocity)

        # The loop runs inside one graph: a Python call for each step would cost more than the arithmetic.
        tf.function(descend)(tf.constant(features), tf.constant(labels))

    def accuracy(self, features: Floats, labels: Labels) -> float:
        """The share of rows whose most likely class is the right one."""
        found = np.argmax(self.logits(tf.constant(features)).numpy(), axis=1)
        return float(np.mean(found == labels))
