"""Requests of examples as clients send them, by upstream's own classes, and versions on a stage that answer them."""

from __future__ import annotations

from typing import Any

from example_messages import example
from front_end_stage import Stage, until
from worker_side import WorkerSide

from frontend.tensors import Tensor
from ringserve.protos import message_module
from ringserve.servable import ServableId
from ringserve.signature import Signature
from shm.lane import Lane
from shm.layout import LaneSpec

RING = 1 << 16
ONE = example(x=[2.0])


def message(module: str, name: str) -> Any:
    return getattr(message_module(f"tensorflow_serving.apis.{module}_pb2"), name)


ClassificationRequest = message("classification", "ClassificationRequest")
ClassificationResponse = message("classification", "ClassificationResponse")
RegressionRequest = message("regression", "RegressionRequest")
RegressionResponse = message("regression", "RegressionResponse")
MultiInferenceRequest = message("inference", "MultiInferenceRequest")
MultiInferenceResponse = message("inference", "MultiInferenceResponse")


def set_spec(spec: Any, name: str = "m", signature: str = "", version: int | None = None, label: str | None = None) -> None:
    spec.name = name
    spec.signature_name = signature
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


def request(kind: Any, *examples: Any, context: Any = None, **spec: Any) -> bytes:
    """A ClassificationRequest or RegressionRequest."""
    made = kind()
    set_spec(made.model_spec, **spec)
    set_examples(made.input, *examples, context=context)
    serialised: bytes = made.SerializeToString()
    return serialised


def set_examples(into: Any, *examples: Any, context: Any = None) -> None:
    if context is not None:
        into.example_list_with_context.context.CopyFrom(context)
        into.example_list_with_context.examples.extend(examples)
    else:
        into.example_list.examples.extend(examples)


async def serve(on: Stage, *signatures: Signature, number: int = 1) -> None:
    """A version of the model m."""
    wire = [signature.to_wire() for signature in signatures]
    on.say("servable", servable=["m", number], metadata={}, signatures=wire, routed=True)
    await until(lambda: on.front_end.catalog.find(ServableId("m", number)))


async def open_lane(on: Stage, signature: str, lane_number: int, number: int = 1) -> WorkerSide:
    """The lane of a version's signature, for packed requests."""
    spec = LaneSpec.from_wire(None, RING)
    lane = Lane.create(spec, {})
    told = {"servable": ["m", number], "signature": signature, "inputs": None, "columns": None}
    on.say("lane", [lane.segment.fd, on.worker_bell.fd], lane=lane_number, worker="cpu:0", ring_bytes=RING, **told)
    lane.close()
    version = on.front_end.catalog.find(ServableId("m", number))
    assert version is not None
    await until(lambda: version.endpoint(signature).base)
    return WorkerSide(lane, spec)


def answer(on: Stage, worker: WorkerSide, *outputs: Tensor) -> None:
    """Of the oldest request."""
    worker.answer(1, [tensor.packed() for tensor in outputs])
    on.bell.ring()
