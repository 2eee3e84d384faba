"""What MLServer runs, started by `mlserver start FOLDER`: a custom runtime, since it has none for TensorFlow."""

from __future__ import annotations

from typing import Any

from mlserver import MLModel  # type: ignore[import-not-found, import-untyped, unused-ignore]
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found, import-untyped, unused-ignore]
from mlserver.types import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
    InferenceRequest,
    InferenceResponse,
)

from bench.peers.programs.loaded_model import LoadedModel


class SavedModelRuntime(MLModel):  # type: ignore[misc, unused-ignore]
    """`parameters.uri` of model-settings.json is the version folder."""

    async def load(self) -> bool:
        self._model: Any = LoadedModel(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = self._model.run(rows)
        output = NumpyCodec.encode_output(self._model.output, answers)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
