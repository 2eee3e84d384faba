"""Models that take images and give back one number each, their mean: what a request costs is getting the image there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.exported_model import BUILD, exported_model

_EXPORT: Final = """
import sys
import tensorflow as tf

side, folder = int(sys.argv[1]), sys.argv[2]


@tf.function(input_signature=[tf.TensorSpec([None, side, side, 3], tf.float32, name="image")])
def serve(image):
    return {"mean": tf.reduce_mean(image, axis=[1, 2, 3])}


tf.saved_model.save(tf.Module(), folder, signatures={"serving_default": serve})
"""


def image_mean(side: int, build: Path = BUILD) -> Path:
    """The base path of a model of square images of three colours, float32. Raises RuntimeError when it can't be made."""
    return exported_model(build / f"image_mean_{side}" / "1", _EXPORT, str(side)).parent
