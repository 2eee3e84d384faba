"""The TensorFlow engine: what the flags say of sessions, and loading."""

from __future__ import annotations

from pathlib import Path

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.protos import message_module
from workers.tf.capi import tensorflow
from workers.tf.session import Session
from workers.tf.session_config import config_proto

_NOT_A_SAVED_MODEL = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file called `saved_model.pb`)\n"
    "Specified file path: {}"
)


class TensorFlowEngine:
    """Loads SavedModels, from several threads at once. Loading the library takes 0.4 s, once a process."""

    def __init__(self, options: ServerOptions) -> None:
        """Raises ServingError for a session configuration that can't be read."""
        self._tags = options.saved_model_tags.split(",") if options.saved_model_tags else ["serve"]
        self._config = config_proto(options)
        tensorflow()
        message_module("tensorflow.core.protobuf.meta_graph_pb2")  # here, where no other thread does the same

    def load(self, path: str) -> Session:
        folder = Path(path)
        if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise ServingError(Code.NOT_FOUND, _NOT_A_SAVED_MODEL.format(path))
        return Session(path, self._tags, self._config)
