"""Rows to ask a model for, and the answers to them: known before anything is measured, from TensorFlow itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TOLERANCE: Final = 1e-4  # of the largest number of all answers: a batch is summed in another order than a row


@dataclass(frozen=True, slots=True)
class AskedRows:
    """`inputs`: an array of rows of the model's one input, of its type; `answers`: float32, a list of numbers for each row,
    those of the model's one output.
    """

    model: str  # its name
    input: str
    inputs: Array
    answers: npt.NDArray[np.float32]

    def write(self, path: Path) -> Path:
        """To a new file, for other processes."""
        np.savez(path, model=self.model, input=self.input, inputs=self.inputs, answers=self.answers)
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, and ValueError where two rows have one answer: an answer would not tell which row it is for."""
        with np.load(path) as file:
            rows = cls(str(file["model"]), str(file["input"]), file["inputs"], file["answers"])
        for index in range(1, len(rows.answers)):
            if rows.agree(rows.answers[:-index], rows.answers[index:]).any():
                raise ValueError(f"{path}: rows of {rows.model} that are {index} apart have the same answer")
        return rows

    def agree(self, answers: Array, expected: Array) -> npt.NDArray[np.bool_]:
        """Which of these rows of answers are as expected, but for how their numbers were rounded?"""
        tolerance = _TOLERANCE * np.abs(self.answers).max()
        agree: npt.NDArray[np.bool_] = (np.abs(answers - expected) <= tolerance).all(axis=1)  # not where one is no number
        return agree
