"""The platform "tensorflow": SavedModels."""

from __future__ import annotations

from functools import cache

from ringserve.errors import Code, ServingError
from ringserve.loader import Loader
from ringserve.options import ServerOptions
from workers.native_servable import NativeServable
from workers.tf.engine import TensorFlowEngine
from workers.tf.session import Session


@cache
def engine_of(server: ServerOptions) -> TensorFlowEngine:
    """The process's engine: what the flags say of sessions is read once. Raises ServingError."""
    return TensorFlowEngine(server)


class TensorFlowLoader(Loader):
    """Loads a SavedModel into a session. It has no options."""

    _session: Session | None = None

    def load(self) -> NativeServable:
        if self.options:
            text = f"loader_options: the platform tensorflow has none, got {', '.join(sorted(self.options))}"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        self._session = engine_of(self.server).load(self.path)
        return NativeServable(self._session)

    def unload(self) -> None:
        if self._session is not None:
            self._session.unload()
            self._session = None
