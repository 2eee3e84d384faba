"""A SavedModel as TensorFlow's guide says to load and run it: `tf.saved_model.load`, and a call of its signature."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class LoadedModel:
    """The default signature, of one input and one output."""

    def __init__(self, folder: str | Path) -> None:
        """`folder`: of the version. Runs the model once, since TensorFlow prepares much in the first run."""
        import tensorflow as tf  # noqa: PLC0415 - takes seconds and 400 MB, which processes that load no model can do without

        self._constant = tf.constant
        self._model = tf.saved_model.load(str(folder))  # which the signature does not keep alive
        self._signature = self._model.signatures["serving_default"]
        ((self.input, spec),) = self._signature.structured_input_signature[1].items()
        (self.output,) = self._signature.structured_outputs
        self.type = spec.dtype.as_numpy_dtype
        self.shape = tuple(spec.shape[1:])  # of a row
        self.run(self._zeros())

    def run(self, rows: Any) -> Any:
        """`rows`: an array, or lists, of rows of the input; an array of as many rows of the output."""
        return self._signature(**{self.input: self._constant(rows, self.type)})[self.output].numpy()

    def _zeros(self) -> Any:
        import numpy as np  # noqa: PLC0415 - with TensorFlow

        return np.zeros((1, *self.shape), self.type)


def settings() -> argparse.ArgumentParser:
    """What every program is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="the version folder")
    parser.add_argument("--port", type=int, required=True, help="of HTTP, on 127.0.0.1")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1, help="rows at most")
    parser.add_argument("--fill", type=float, default=0.0, help="ms for a batch to fill, at most")
    return parser
