"""A text model as large as BERT's base one: 12 layers, 768 wide, 12 heads, 64 tokens. Its weights are random."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.asked_rows import AskedRows
from bench.exported_model import BUILD, exported_model

NAME: Final = "bert_base"
_SAMPLES: Final = "assets.extra/rows.npz"  # beside the graph, where files of others may be

# As BERT: sums of embeddings, layers that normalise after each half, tanh of the first token's output, eight classes.
_EXPORT: Final = """
import sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf

name, samples, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
keras.utils.set_random_seed(0)
layers = keras.layers
words, tokens, width, heads, depth, classes = 30522, 64, 768, 12, 12, 8
ids = keras.Input((tokens,), dtype="int32")
x = layers.Embedding(words, width)(ids) + layers.Embedding(512, width)(keras.ops.arange(tokens))
x = layers.LayerNormalization(epsilon=1e-12)(x)
for _ in range(depth):
    seen = layers.MultiHeadAttention(heads, width // heads)(x, x)
    x = layers.LayerNormalization(epsilon=1e-12)(x + seen)
    inner = layers.Dense(4 * width, activation="gelu")(x)
    x = layers.LayerNormalization(epsilon=1e-12)(x + layers.Dense(width)(inner))
network = keras.Model(ids, layers.Dense(classes)(layers.Dense(width, activation="tanh")(x[:, 0])))
module = tf.Module()
module.weights = [variable.value for variable in network.variables]


@tf.function(input_signature=[tf.TensorSpec([None, tokens], tf.int32, name="ids")])
def serve(ids):
    return {"scores": network(ids, training=False)}


tf.saved_model.save(module, folder, signatures={"serving_default": serve})
inputs = np.random.default_rng(0).integers(0, words, (16, tokens), np.int32)
answers = np.concatenate([serve(inputs[row:row + 1])["scores"] for row in range(len(inputs))])
(folder / samples).parent.mkdir(exist_ok=True)
np.savez(folder / samples, model=name, input="ids", inputs=inputs, answers=answers)
"""


def text_model(build: Path = BUILD) -> tuple[Path, AskedRows]:
    """Its base path, and 16 texts with their scores. Raises RuntimeError when it can't be made."""
    version = exported_model(build / NAME / "1", _EXPORT, NAME, _SAMPLES)
    return version.parent, AskedRows.read(version / _SAMPLES)
