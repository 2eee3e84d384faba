"""Models of which batches are measured, with rows to ask them for and what TensorFlow's own runtime answers.

Weights are random; nothing is downloaded. Images are bytes of colours, as clients have them, which the model makes floats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from bench.asked_rows import AskedRows
from bench.exported_model import BUILD, exported_model
from bench.half_plus_two import NAME

#: The small network for handwritten digits that Keras long had as its example: 1.2 million parameters, 24 million
#: multiplications an image.
DIGITS_CNN: Final = "digits_cnn"
RESNET: Final = "resnet50_images"  # 25.6 million parameters, 3.9 billion multiplications an image
FIXED_COST: Final = "fixed_cost"
_ROWS: Final = 256  # of models that answer as half_plus_two does
_SAMPLES: Final = "assets.extra/rows.npz"  # beside the graph, where files of others may be

# Squares of one colour each: images of noise are all alike to a network.
_EXPORT_IMAGES: Final = """
import sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf

name, samples, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
keras.utils.set_random_seed(0)
layers = keras.layers
if name == "digits_cnn":
    side, colours = 28, 1
    network = keras.Sequential([
        keras.Input((side, side, colours)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10),
    ])
else:
    side, colours = 224, 3
    network = keras.applications.ResNet50(weights=None, classifier_activation=None)
module = tf.Module()
module.weights = [variable.value for variable in network.variables]


@tf.function(input_signature=[tf.TensorSpec([None, side, side, colours], tf.uint8, name="image")])
def serve(image):
    return {"scores": network(tf.cast(image, tf.float32) / 255, training=False)}


tf.saved_model.save(module, folder, signatures={"serving_default": serve})
squares = np.random.default_rng(0).integers(0, 256, (16, 7, 7, colours), np.uint8)
images = squares.repeat(side // 7, 1).repeat(side // 7, 2)
answers = np.concatenate([serve(images[row:row + 1])["scores"] for row in range(len(images))])
(folder / samples).parent.mkdir(exist_ok=True)
np.savez(folder / samples, model=name, input="image", inputs=images, answers=answers)
"""

# Each step needs the one before: nothing can be computed ahead, left out or run side by side.
_EXPORT_FIXED_COST: Final = """
import sys
import tensorflow as tf

steps, side, folder = int(sys.argv[1]), 64, sys.argv[2]
module = tf.Module()
module.turn = tf.Variable(tf.eye(side))
module.slope, module.offset, module.gate = tf.Variable(0.5), tf.Variable(2.0), tf.Variable(0.0)


@tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
def serve(x):
    _, turned = tf.while_loop(
        lambda step, _: step < steps, lambda step, turned: (step + 1, turned @ module.turn), (0, tf.eye(side))
    )
    return {"y": module.slope * x + module.offset + module.gate * turned[0, 0]}


tf.saved_model.save(module, folder, signatures={"serving_default": serve})
"""
_STEPS: Final = 250  # some 5 ms


def image_network(name: str, build: Path = BUILD) -> tuple[Path, AskedRows]:
    """DIGITS_CNN or RESNET: its base path, and 16 images with their scores. Raises RuntimeError when it can't be made."""
    version = exported_model(build / name / "1", _EXPORT_IMAGES, name, _SAMPLES)
    return version.parent, AskedRows.read(version / _SAMPLES)


def fixed_cost(build: Path = BUILD) -> tuple[Path, AskedRows]:
    """y = 0.5 x + 2, after some 5 ms of work that is the same however many rows there are.

    Raises RuntimeError when it can't be made.
    """
    return exported_model(build / FIXED_COST / "1", _EXPORT_FIXED_COST, str(_STEPS)).parent, halves(FIXED_COST)


def halves(model: str = NAME) -> AskedRows:
    """Of models that answer as half_plus_two: exact in float32."""
    numbers = np.arange(_ROWS, dtype=np.float32)
    return AskedRows(model, "x", numbers, (numbers / 2 + 2).reshape(-1, 1).astype(np.float32))
