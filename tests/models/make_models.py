"""Writes the SavedModels that the server's tests use: ``python tests/models/make_models.py DIR``.

Each goes to ``DIR/<name>/<version>/``, replacing what is there. The last line printed is a JSON object: the
models, their versions, and the names of each version's signatures.
"""

import argparse
import functools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

# Before TensorFlow is imported, which reads them: no start-up messages, and no claim on a GPU's memory.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import awkward
import changing
import misbehaving
import parsing
import row_wise
import tensorflow as tf
import whole_batch
from built_model import BuiltModel

MODELS = {
    **row_wise.MODELS,
    **whole_batch.MODELS,
    **misbehaving.MODELS,
    **changing.MODELS,
    **parsing.MODELS,
    **awkward.MODELS,
}

Summary = dict[str, dict[str, list[str]]]


def publish(version_folder: Path, fill: Callable[[Path], None]) -> None:
    """Make ``version_folder`` appear whole: ``fill`` writes it elsewhere first."""
    version_folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{version_folder.name}-", dir=version_folder.parent))
    try:
        fresh = scratch / "fresh"
        fill(fresh)
        if version_folder.exists():
            # A folder with content cannot be renamed over.
            version_folder.rename(scratch / "previous")
        fresh.rename(version_folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def save(model: BuiltModel, folder: Path) -> None:
    """Write ``model`` as a SavedModel."""
    tf.saved_model.save(model.module, str(folder), signatures=dict(model.signatures))


def write_garbage(folder: Path) -> None:
    """A version folder that looks like a SavedModel and cannot be read."""
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"this is not a SavedModel\xff\xff")


def make_models(output: Path) -> Summary:
    """Write every model below ``output``."""
    summary: Summary = {}
    for name, versions in MODELS.items():
        summary[name] = {}
        for version, build in versions.items():
            model = build()
            publish(output / name / version, functools.partial(save, model))
            summary[name][version] = sorted(model.signatures)
    publish(output / "broken" / "1", write_garbage)
    summary["broken"] = {"1": []}
    (output / "empty").mkdir(parents=True, exist_ok=True)
    summary["empty"] = {}
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the models where the command line says."""
    parser = argparse.ArgumentParser(description="Write the SavedModels that the server's tests use.")
    parser.add_argument("output", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    tf.get_logger().setLevel("ERROR")
    print(json.dumps(make_models(options.output)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
