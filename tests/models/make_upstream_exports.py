"""Writes what TensorFlow Serving's own integration test exports: ``python tests/models/make_upstream_exports.py DIR``.

Each goes to ``DIR/<name>/123/``. Apart from the other models, since Keras takes seconds to be imported.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_models  # before TensorFlow, for which it sets the environment
import tensorflow as tf


def saved_by_save(folder: Path) -> None:
    """y = 3 * 2 * x, for an x of any rank."""
    root = tf.train.Checkpoint()
    root.v1, root.v2 = tf.Variable(3.0), tf.Variable(2.0)
    root.f = tf.function(lambda x: {"y": root.v1 * root.v2 * x})
    tf.saved_model.save(root, str(folder), root.f.get_concrete_function(tf.TensorSpec(None, tf.float32)))


def two_signatures(folder: Path) -> None:
    """A number for each, whatever the input: it has no dimensions."""
    root = tf.train.Checkpoint()
    specs = [tf.TensorSpec(None, tf.float32)]
    root.f = tf.function(lambda x: {"y": 1.0}, input_signature=specs)
    root.g = tf.function(lambda x: {"y": 2.0}, input_signature=specs)
    tf.saved_model.save(root, str(folder), signatures={"serving_default": root.f, "custom_signature_key": root.g})


def keras_identity(folder: Path) -> None:
    model = tf.keras.Sequential([tf.keras.layers.Input(shape=(1,), name="x"), tf.keras.layers.Identity(name="y")])
    save(model, model, folder)


def mirrored(folder: Path) -> None:
    """A dense layer whose one weight is 1, on two devices."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    module = tf.Module()
    with strategy.scope():
        module.weight = tf.Variable([[1.0]])
    save(module, lambda x: x @ module.weight, folder)


def save(module: Any, function: Callable[[Any], Any], folder: Path) -> None:
    specs = [tf.TensorSpec([None, 1], tf.float32, name="x")]
    serve = tf.function(lambda x: {"y": function(x)}, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=serve)


EXPORTS: dict[str, Callable[[Path], None]] = {
    "saved_by_save": saved_by_save,
    "two_signatures": two_signatures,
    "keras_identity": keras_identity,
    "mirrored": mirrored,
}


def main() -> None:
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    for name, export in EXPORTS.items():
        make_models.publish(Path(sys.argv[1]) / name / "123", export)


if __name__ == "__main__":
    main()
