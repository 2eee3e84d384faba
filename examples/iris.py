"""``iris``: names the species of an iris from four lengths in centimetres."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from examples.network import Floats, Labels, Network
from examples.quiet_tensorflow import tf
from examples.requests import SampleRequest
from examples.saved_model import TrainedModel, signature

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
CLASSIFY_METHOD = "tensorflow/serving/classify"

Tensor = Any


class Split(NamedTuple):
    """The flowers to learn from, and those held out to measure with."""

    training: Floats
    training_labels: Labels
    held_out: Floats
    held_out_labels: Labels
    species: list[str]


def load() -> Split:
    """The data set, split the same way each time, each species in the same share on both sides."""
    data = load_iris()
    training, held_out, training_labels, held_out_labels = train_test_split(
        data.data.astype(np.float32),
        data.target.astype(np.int64),
        test_size=0.3,
        random_state=0,
        stratify=data.target,
    )
    species = [str(name) for name in data.target_names]
    return Split(training, training_labels, held_out, held_out_labels, species)


def train() -> TrainedModel:
    """A network with one hidden layer, behind three signatures."""
    split = load()
    network = Network(split.training, [16, len(split.species)], seed=0)
    network.fit(split.training, split.training_labels, steps=200, rate=0.1, decay=1e-3)
    accuracy = network.accuracy(split.held_out, split.held_out_labels)
    return TrainedModel(
        network.module,
        _signatures(network, split.species),
        f"accuracy {accuracy:.3f} on {len(split.held_out)} held-out flowers",
        {"classify": CLASSIFY_METHOD},
    )


def _signatures(network: Network, species: list[str]) -> dict[str, Any]:
    names = tf.constant(species)

    def predict(features: Tensor) -> dict[str, Tensor]:
        scores = tf.nn.softmax(network.logits(features))
        class_index = tf.argmax(scores, axis=1)
        return {"classes": tf.gather(names, class_index), "class_index": class_index, "scores": scores}

    def parse(examples: Tensor) -> Tensor:
        columns = {name: tf.io.FixedLenFeature([], tf.float32) for name in FEATURES}
        parsed = tf.io.parse_example(examples, columns)
        return tf.stack([parsed[name] for name in FEATURES], axis=1)

    def predict_examples(examples: Tensor) -> dict[str, Tensor]:
        return predict(parse(examples))

    def classify(inputs: Tensor) -> dict[str, Tensor]:
        scores = tf.nn.softmax(network.logits(parse(inputs)))
        # A classification answers with the name of every class, in the order of the scores.
        classes = tf.broadcast_to(names, tf.shape(scores))
        return {"classes": tf.ensure_shape(classes, [None, len(species)]), "scores": scores}

    serialized = tf.TensorSpec([None], tf.string)
    return {
        "serving_default": signature(predict, features=tf.TensorSpec([None, len(FEATURES)], tf.float32)),
        "predict_examples": signature(predict_examples, examples=serialized),
        "classify": signature(classify, inputs=serialized),
    }


def sample_requests() -> list[SampleRequest]:
    """One held-out flower of each species, as rows of numbers and one of them as an Example."""
    split = load()
    picked = [int(np.flatnonzero(split.held_out_labels == index)[0]) for index in range(len(split.species))]
    # The data set has one decimal; float32 would print more.
    rows = [[round(float(value), 1) for value in split.held_out[index]] for index in picked]
    return [
        SampleRequest(
            title="one iris of each species, by its four lengths",
            model="iris",
            body={"instances": rows},
            expected=split.species,
        ),
        SampleRequest(
            title=f"one {split.species[-1]}, as a tf.train.Example: the score of each species",
            model="iris",
            body={"signature_name": "classify", "examples": [dict(zip(FEATURES, rows[-1], strict=True))]},
            expected=[split.species[-1]],
            verb="classify",
        ),
    ]
