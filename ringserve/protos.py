"""TensorFlow's protobuf messages without TensorFlow.

Importing `tensorflow.core.protobuf.…_pb2` the normal way runs the whole package's `__init__`: 2.8 s and 620 MB. The
message modules themselves need nothing of it, so their parent packages are put in place as empty shells first: 0.1 s.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

_SHELLS = ("", ".core", ".core.framework", ".core.protobuf", ".core.example", ".tsl", ".tsl.protobuf")


def tensorflow_folder() -> Path:
    """Where the tensorflow package is installed. Raises ModuleNotFoundError when it isn't."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the tensorflow package is not installed")
    return Path(spec.submodule_search_locations[0])


def message_module(name: str) -> types.ModuleType:
    """The module of generated messages `name`, for instance "tensorflow.core.protobuf.config_pb2".

    Where the real package is imported already (in a user's own process), that one is used.
    """
    if "tensorflow" not in sys.modules:
        folder = tensorflow_folder()
        for suffix in _SHELLS:
            _put_shell("tensorflow" + suffix, folder.joinpath(*suffix.split(".")[1:]))
    return importlib.import_module(name)


def _put_shell(name: str, folder: Path) -> None:
    shell = types.ModuleType(name)
    shell.__path__ = [str(folder)]
    shell.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    shell.__spec__.submodule_search_locations = shell.__path__
    sys.modules[name] = shell
