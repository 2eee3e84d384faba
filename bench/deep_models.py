"""Models of a real size that still answer as half_plus_two does: y = 0.5 x + 2 + 0 · (a network's answer to x).

The zero is a variable, so that the network is run, and every answer can be checked to the last digit. Weights are random;
nothing is downloaded. Exported once, to build/bench, by a process of its own: this one never loads TensorFlow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_BUILD: Final = Path(__file__).resolve().parents[1] / "build" / "bench"
_SECONDS: Final = 300.0

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


def deep_model(name: str, build: Path = _BUILD) -> Path:
    """The exported version folder. Raises RuntimeError when it can't be made."""
    folder = build / name / "1"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as scratch:
            _export(name, Path(scratch) / "1")
            try:
                (Path(scratch) / "1").rename(folder)
            except OSError:  # another benchmark was quicker
                if not folder.is_dir():
                    raise
    return folder


def _export(name: str, folder: Path) -> None:
    network, size = _NETWORKS[name]
    command = [sys.executable, "-c", _EXPORT, network, str(size), str(folder)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{network} could not be exported: {done.stderr.strip()[-2000:]}")
