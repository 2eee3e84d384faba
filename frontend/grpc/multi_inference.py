"""MultiInference: several signatures of one version, each run with the same examples."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from frontend.bodies.body_options import BodyOptions
from frontend.bodies.predict_messages import PROTOBUF
from frontend.call import Call
from frontend.catalog import ModelSpec
from frontend.failure import as_serving_error
from frontend.front_end import FrontEnd
from frontend.grpc.example_answer import classification_result, regression_result
from frontend.grpc.example_messages import example_message
from frontend.grpc.example_rows import ExampleRows, fed
from frontend.grpc.model_spec import model_spec
from frontend.grpc.rpc import code_of_the_gone, is_low_call
from frontend.heavy_work import HEAVY, in_thread, is_heavy_answer
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.classification import classification
from ringserve.errors import Code, ServingError
from ringserve.example_request import multi_inference_signatures
from ringserve.model_spec_writer import model_spec_bytes
from ringserve.predict_request import CLASSIFY
from ringserve.regression import regression
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor_proto_writer import varint

_API: Final = "multi_inference"
_ENTRYPOINT: Final = "GRPC"
_NO_MODEL: Final = ModelSpec("")
_RESULT_TAG: Final = b"\x0a"  # of a MultiInferenceResponse; the others are of an InferenceResult
_MODEL_SPEC_TAG: Final = b"\x0a"
_CLASSIFICATION_TAG: Final = b"\x12"
_REGRESSION_TAG: Final = b"\x1a"


class MultiInference:
    """The answer to a MultiInferenceRequest has all results or is an error.

    Each task is counted as a request for its own signature; a request that fails before its tasks are known is one.
    """

    def __init__(self, front_end: FrontEnd, options: BodyOptions) -> None:
        self._front_end = front_end
        self._options = options

    async def __call__(
        self, message: bytes, timeout: int, began: int, key: str | None = None, priority: str | None = None
    ) -> bytes:
        """A serialised MultiInferenceResponse. `timeout` in ns from `began` on, 0: none; `began`: ns of CLOCK_MONOTONIC.

        `key`: of requests that are to get the same version of a label; `priority`: as the metadata name it. Raises
        ServingError.
        """
        run = _Run(self._front_end, self._options, timeout, began)
        try:
            answer = await run.answer(message, key, priority)
        except Exception as error:
            serving = as_serving_error(error)
            run.close(serving.code)
            if serving is error:
                raise
            raise serving from error
        except BaseException:
            run.close(code_of_the_gone(timeout, began))
            raise
        run.close()
        return answer


class _Run:
    """One request: a call for each task, all to the version that the first task resolves to."""

    def __init__(self, front_end: FrontEnd, options: BodyOptions, timeout: int, began: int) -> None:
        self._front_end = front_end
        self._options = options
        self._timeout = timeout
        self._began = began
        self._spec = _NO_MODEL
        self._calls: list[Call] = []

    async def answer(self, message: bytes, key: str | None, priority: str | None) -> bytes:
        """Raises ServingError. `close` afterwards, whatever happened."""
        low = is_low_call(priority)
        is_long, limit = len(message) > HEAVY, self._options.most_bytes
        request = await in_thread(_parsed, message, limit) if is_long else _parsed(message, limit)
        bodies = self._resolved(request.tasks, key)
        examples = ExampleRows(request.input, limit)
        del request, message
        rows = await in_thread(examples.take) if is_long or examples.heavy else examples.take()
        for call, body in zip(self._calls, bodies, strict=True):
            call.low = low
            body.rows = rows
            call.read_inputs()
        del rows
        return await self._encoded(await self._outputs())

    def _resolved(self, tasks: Sequence[Any], key: str | None) -> list[_TaskBody]:
        if not tasks or not tasks[0].model_spec.name:
            raise ServingError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        self._spec = spec = model_spec(tasks[0])
        catalog = self._front_end.catalog
        with catalog.servable_handle(spec._replace(key=key) if spec.label is not None else spec) as version:
            signatures = multi_inference_signatures(tasks, version.signatures, self._options.check_method)
            pinned = ModelSpec(spec.name, version.id.version)
            bodies = [_TaskBody(signature, task.method_name) for signature, task in zip(signatures, tasks, strict=True)]
            for body in bodies:
                call = Call(self._front_end, pinned, _API, _ENTRYPOINT, self._timeout, self._began)
                self._calls.append(call)
                call.resolve(body)
        return bodies

    async def _outputs(self) -> list[Sequence[Tensor]]:
        """Of each call, when all have run. Raises the ServingError of the first that fails, without waiting for others."""
        running = [asyncio.create_task(_outputs(call)) for call in self._calls]
        try:
            return await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()

    async def _encoded(self, outputs: Sequence[Sequence[Tensor]]) -> bytes:
        parts: list[bytes] = []
        for call, tensors in zip(self._calls, outputs, strict=True):
            result = (await in_thread(call.encode) if is_heavy_answer(tensors) else call.encode()).body
            parts += (_RESULT_TAG, varint(len(result)), result)
        return b"".join(parts)

    def close(self, code: Code = Code.OK) -> None:
        """Give everything back, and count what ended in this code."""
        for call in self._calls:
            call.close(code)
        if not self._calls:
            meter = self._front_end.counters.meter(self._spec.name, None, "", _API, _ENTRYPOINT)
            meter.failed(code, time.monotonic_ns() - self._began)


def _parsed(message: bytes, most_bytes: int) -> Any:
    return example_message("MultiInferenceRequest", message, most_bytes)


async def _outputs(call: Call) -> Sequence[Tensor]:
    await call.run()
    return call.read_outputs()


class _TaskBody:
    """One task; a `frontend.request_body.RequestBody`. It is the task's method that counts, not its signature's."""

    heavy = False

    def __init__(self, signature: Signature, method: str) -> None:
        """`signature` has passed the checks for this method."""
        self.rows: list[bytes] = []
        self._count = 0
        self._signature = signature
        self._classifies = method == CLASSIFY

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return self._signature

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Of the rows, which are forgotten then. Raises ServingError (INVALID_ARGUMENT) where it takes no strings."""
        rows, self.rows = self.rows, []
        self._count = len(rows)
        return fed(rows, signature)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """An InferenceResult. Raises ServingError (INVALID_ARGUMENT) where the outputs are not what the method makes."""
        if self._classifies:
            tag, result = _CLASSIFICATION_TAG, classification_result(classification(signature, outputs, self._count))
        else:
            tag, result = _REGRESSION_TAG, regression_result(regression(outputs, self._count))
        spec = model_spec_bytes(servable.name, servable.version, None, signature.name)
        return Answer(b"".join((_MODEL_SPEC_TAG, varint(len(spec)), spec, tag, varint(len(result)), result)), PROTOBUF)
