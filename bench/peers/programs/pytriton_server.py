"""What pytriton serves: Triton's HTTP server and batcher around a function of this process."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytriton.decorators import batch  # type: ignore[import-not-found, import-untyped, unused-ignore]
from pytriton.model_config import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
    DynamicBatcher,
    ModelConfig,
    Tensor,
)
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found, import-untyped, unused-ignore]

from bench.peers.programs.loaded_model import LoadedModel, settings


def main() -> None:
    parser = settings()
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    model = LoadedModel(arguments.model)

    @batch  # type: ignore[untyped-decorator, unused-ignore]
    def predict(**inputs: Any) -> dict[str, Any]:
        rows = inputs[model.input]
        return {model.output: model.run(rows.reshape(len(rows), *model.shape))}

    shape = model.shape or (1,)  # it knows no rows without a shape
    batcher = DynamicBatcher(max_queue_delay_microseconds=int(arguments.fill * 1000))
    config = TritonConfig(http_port=arguments.port, allow_grpc=False, allow_metrics=False, log_verbose=0)
    with Triton(config=config) as triton:
        triton.bind(
            model_name=arguments.name,
            infer_func=predict,
            inputs=[Tensor(name=model.input, dtype=np.dtype(model.type), shape=shape)],
            outputs=[Tensor(name=model.output, dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=arguments.batch, batcher=batcher),
        )
        triton.serve()


if __name__ == "__main__":
    main()
