"""A model loaded into this process as a worker loads it, on the CPU. For programs that do nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from workers.engine import LoadedVersion
from workers.probe import Report


def loaded_model(base: Path) -> tuple[LoadedVersion, Report]:
    """Version 1, and how its default signature takes rows as declared. End such a program with `os._exit`, as a worker:
    TensorFlow's static destructors can hang.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # Only now: TensorFlow's libraries read the environment when they are loaded.
    from workers.platforms import Platforms  # noqa: PLC0415
    from workers.versions import Versions  # noqa: PLC0415

    options = ServerOptions(model_base_path=str(base))
    versions = Versions(Platforms(options), options)
    servable = ServableId(base.name, 1)
    version, _ = versions.load(servable, str(base / "1"), "tensorflow", {})
    return version, versions.declared(servable, DEFAULT_SIGNATURE)
