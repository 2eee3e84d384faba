"""Models of a real size that still answer as half_plus_two does: y = 0.5 x + 2 + 0 · (a network's answer to x).

The zero is a variable, so that the network is run, and every answer can be checked to the last digit. Weights are random;
nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.exported_model import BUILD, exported_model

#: The class in keras.applications, and the side of the square image that it takes.
_NETWORKS: Final = {
    "resnet50": ("ResNet50", 224),  # 25.6 million parameters in 320 variables, 99 MB
    "mobilenet": ("MobileNetV2", 96),  # 3.5 million parameters in 262 variables, 15 MB
}

_EXPORT: Final = """
import sys
import keras
import tensorflow as tf

name, size, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
network = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
module = tf.Module()
module.weights = [variable.value for variable in network.variables]
module.slope, module.offset, module.gate = tf.Variable(0.5), tf.Variable(2.0), tf.Variable(0.0)


@tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
def serve(x):
    image = tf.broadcast_to(x[:, None, None, None], [tf.shape(x)[0], size, size, 3])
    return {"y": module.slope * x + module.offset + module.gate * network(image, training=False)[:, 0]}


tf.saved_model.save(module, folder, signatures={"serving_default": serve})
"""


def deep_model(name: str, build: Path = BUILD) -> Path:
    """The exported version folder. Raises RuntimeError when it can't be made."""
    network, size = _NETWORKS[name]
    return exported_model(build / name / "1", _EXPORT, network, str(size))
