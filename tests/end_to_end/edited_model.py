"""A SavedModel with other signatures than it was exported with: some can't be had from TensorFlow's own exporter."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringserve.protos import message_module


def edited(version: Path, folder: Path, edit: Callable[[Any], None]) -> Path:
    """A copy of a version folder; `edit` is given its map of SignatureDef messages."""
    shutil.copytree(version, folder)
    file = folder / "saved_model.pb"
    model = message_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel.FromString(file.read_bytes())
    (graph,) = model.meta_graphs
    edit(graph.signature_def)
    file.write_bytes(model.SerializeToString())
    return folder
