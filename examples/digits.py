"""``mnist``: reads a handwritten digit from an image of 8 by 8 pixels, each between 0 and 16."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.network import Floats, Labels, Network
from examples.quiet_tensorflow import tf
from examples.requests import SampleRequest
from examples.saved_model import TrainedModel, signature

PIXELS = 64
DIGITS = 10

Tensor = Any


class Split(NamedTuple):
    """The images to learn from, and those held out to measure with."""

    training: Floats
    training_labels: Labels
    held_out: Floats
    held_out_labels: Labels


def load() -> Split:
    """The data set, split the same way each time, each digit in the same share on both sides."""
    data = load_digits()
    training, held_out, training_labels, held_out_labels = train_test_split(
        data.data.astype(np.float32),
        data.target.astype(np.int64),
        test_size=0.25,
        random_state=0,
        stratify=data.target,
    )
    return Split(training, training_labels, held_out, held_out_labels)


def train() -> TrainedModel:
    """A network with one hidden layer; the pixels go in as they are in the data set."""
    split = load()
    network = Network(split.training, [128, DIGITS], seed=0)
    network.fit(split.training, split.training_labels, steps=300, rate=0.1, decay=1e-3)
    accuracy = network.accuracy(split.held_out, split.held_out_labels)

    def predict(images: Tensor) -> dict[str, Tensor]:
        scores = tf.nn.softmax(network.logits(images))
        return {"scores": scores, "classes": tf.argmax(scores, axis=1)}

    predict_images = signature(predict, images=tf.TensorSpec([None, PIXELS], tf.float32))
    return TrainedModel(
        network.module,
        {"serving_default": predict_images, "predict_images": predict_images},
        f"accuracy {accuracy:.3f} on {len(split.held_out)} held-out images",
    )


def sample_requests() -> list[SampleRequest]:
    """One held-out image."""
    split = load()
    image = [int(pixel) for pixel in split.held_out[0]]
    digit = int(split.held_out_labels[0])
    return [
        SampleRequest(
            title=f"an image of the digit {digit}",
            model="mnist",
            body={"signature_name": "predict_images", "instances": [image]},
            expected=[digit],
        )
    ]
