"""Picture files as inputs: as they are for strings, decoded for numbers."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.client.tensors import array_of, numbers_of
from ringserve.command_inputs import PictureFile
from ringserve.flags import UsageError
from ringserve.signature import TensorSpec
from ringserve.tensor import STRING

Array = npt.NDArray[Any]

_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's, by their channels
_ANY: Final = -1


def picture_array(picture: PictureFile, spec: TensorSpec) -> Array:
    """With the batch dimension that the input has. Nothing is scaled: not the picture, and not its values from 0 to 255.

    Raises UsageError for what is no picture and for one that doesn't fit, ServingError for numbers that don't.
    """
    if spec.dtype is STRING:
        found = np.empty((1,) * (1 if spec.shape is None else len(spec.shape)), dtype=object)
        found[...] = picture.content
        return found
    mode, first = _layout(picture, spec)
    pixels = _decoded(picture, mode)
    if pixels.ndim == 2 and (spec.shape is None or len(spec.shape) == 4 or spec.shape[-1] == 1):
        pixels = pixels[:, :, None]
    if first:
        pixels = pixels.transpose(2, 0, 1)
    if spec.shape is None or len(spec.shape) > pixels.ndim:
        pixels = pixels[None]
    _check(picture, pixels.shape, spec)
    return array_of(*numbers_of(pixels, spec.dtype))


def _layout(picture: PictureFile, spec: TensorSpec) -> tuple[str, bool]:
    """Pillow's mode, and whether the channels come before the rows."""
    shape = spec.shape
    if shape is None:
        return _MODES[3], False
    if len(shape) not in (2, 3, 4):
        text = f"{picture.path} is a picture, and input {spec.alias!r} has the shape {list(shape)}"
        raise UsageError(f"{text}: 2 to 4 dimensions are needed")
    if len(shape) == 2 or (len(shape) == 3 and shape[2] not in (_ANY, *_MODES)):
        return _MODES[1], False
    if len(shape) == 4 and shape[3] not in (_ANY, *_MODES) and shape[1] in _MODES:
        return _MODES[shape[1]], True
    return _MODES.get(shape[-1], _MODES[3]), False


def _decoded(picture: PictureFile, mode: str) -> Array:
    try:
        pillow: Any = importlib.import_module("PIL.Image")  # not everybody has it
    except ImportError as error:
        text = f"to make numbers of {picture.path}, the package Pillow is needed, which is not installed"
        raise UsageError(f"{text}; pass an array (.npy) instead") from error
    try:
        with pillow.open(io.BytesIO(picture.content)) as image:
            return np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        reason = str(error).partition(" <")[0]  # without the object that Pillow was given
        raise UsageError(f"{picture.path} is no picture that can be decoded: {reason}") from error


def _check(picture: PictureFile, shape: Sequence[int], spec: TensorSpec) -> None:
    declared = spec.shape
    if declared is None:
        return
    if len(declared) != len(shape) or any(size not in (_ANY, found) for size, found in zip(declared, shape, strict=True)):
        text = f"{picture.path} makes the shape {list(shape)}, and input {spec.alias!r} has {list(declared)}"
        raise UsageError(f"{text}: pictures are not scaled")
