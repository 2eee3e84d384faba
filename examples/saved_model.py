"""Writes SavedModels so that a version folder appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.quiet_tensorflow import tf


@dataclass(frozen=True)
class TrainedModel:
    """A model ready for export: what to save, and a line that says how good it is."""

    module: Any
    signatures: Mapping[str, Any]
    summary: str
    # TensorFlow saves every signature as "predict"; these are the ones with another method.
    method_names: Mapping[str, str] = field(default_factory=dict)


def signature(function: Callable[..., dict[str, Any]], **inputs: Any) -> Any:
    """``function`` as a graph whose inputs have the given names, each a ``tf.TensorSpec``."""
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()]
    return tf.function(function, input_signature=named)


def export(model: TrainedModel, version_folder: Path) -> None:
    """Save ``model`` as ``version_folder``, in place of what is there."""
    base = version_folder.parent
    base.mkdir(parents=True, exist_ok=True)
    # A server takes only folders named by a number for versions, so it never looks at this one.
    scratch = Path(tempfile.mkdtemp(prefix=f".{version_folder.name}-", dir=base))
    try:
        fresh = scratch / "fresh"
        tf.saved_model.save(model.module, str(fresh), signatures=dict(model.signatures))
        _set_method_names(fresh, model.method_names)
        if version_folder.exists():
            # A folder with content cannot be renamed over.
            version_folder.rename(scratch / "previous")
        fresh.rename(version_folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _set_method_names(folder: Path, method_names: Mapping[str, str]) -> None:
    if not method_names:
        return
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for key, method_name in method_names.items():
        updater.replace_method_name(signature_key=key, method_name=method_name)
    updater.save()
