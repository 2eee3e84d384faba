"""What is served over gRPC, by the methods' full names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from frontend.bodies.body_options import BodyOptions
from frontend.front_end import FrontEnd
from frontend.grpc.example_bodies import ClassifyBody, RegressBody
from frontend.grpc.exchange import Inference
from frontend.grpc.health import Health
from frontend.grpc.methods import Lookup, Method, taken
from frontend.grpc.model_metadata import get_model_metadata
from frontend.grpc.model_status import get_model_status
from frontend.grpc.multi_inference import MultiInference
from frontend.grpc.predict_body import PredictBody, is_long
from frontend.grpc.predict_stream import PredictStream
from frontend.grpc.reflection import Reflection
from frontend.grpc.reload import handle_reload
from frontend.grpc.rpc import KEY, PRIORITY, UnaryRpc
from frontend.grpc.stream import Stream
from frontend.heavy_work import HEAVY
from ringserve.options import ServerOptions

_PREDICTION: Final = "tensorflow.serving.PredictionService"
_MODELS: Final = "tensorflow.serving.ModelService"
_HEALTH: Final = "grpc.health.v1.Health"
_STREAMING: Final = "ringserve.StreamingPrediction"
_REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

Begin = Callable[[UnaryRpc], None]
Converse = Callable[[Stream], Awaitable[None]]
T = TypeVar("T")


class Services:
    """`unary` and `streams`: by "/service/method"."""

    def __init__(self, front_end: FrontEnd, options: ServerOptions) -> None:
        body_options = BodyOptions(
            most_bytes=options.max_request_bytes,
            check_method=options.enable_signature_method_name_check,
            tensor_content=options.enable_serialization_as_tensor_content,
        )
        health = Health(front_end.catalog, front_end.stopping)
        prediction = _prediction(front_end, body_options)
        models = _models(front_end)
        self.unary: Mapping[bytes, Begin] = {
            **_named(_PREDICTION, prediction),
            **_named(_MODELS, models),
            **_named(_HEALTH, _checks(front_end, health)),
        }
        reflection = Reflection([_PREDICTION, _MODELS, _HEALTH, _STREAMING, *_REFLECTION])
        streams: dict[bytes, Converse] = {
            **_named(_HEALTH, {"Watch": health.watch}),
            **_named(_STREAMING, {"Predict": PredictStream(front_end, body_options)}),
        }
        for service in _REFLECTION:
            streams |= _named(service, {"ServerReflectionInfo": reflection})
        self.streams: Mapping[bytes, Converse] = streams


def _prediction(front_end: FrontEnd, options: BodyOptions) -> dict[str, Begin]:
    catalog = front_end.catalog
    multi = MultiInference(front_end, options)
    metadata = Lookup(front_end.counters, "metadata", lambda request: get_model_metadata(request, catalog))
    return {
        "Predict": Inference(front_end, options, "predict", PredictBody, is_long).begin,
        "Classify": Inference(front_end, options, "classify", ClassifyBody, _is_large).begin,
        "Regress": Inference(front_end, options, "regress", RegressBody, _is_large).begin,
        "MultiInference": Method(
            lambda rpc: multi(taken(rpc), rpc.timeout, rpc.began, rpc.metadata(KEY), rpc.metadata(PRIORITY))
        ).begin,
        "GetModelMetadata": metadata.begin,
    }


def _models(front_end: FrontEnd) -> dict[str, Begin]:
    counters, catalog = front_end.counters, front_end.catalog
    return {
        "GetModelStatus": Lookup(counters, "status", lambda request: get_model_status(request, catalog)).begin,
        "HandleReloadConfigRequest": Lookup(counters, "reload", lambda request: handle_reload(request, front_end.ask)).begin,
    }


def _checks(front_end: FrontEnd, health: Health) -> dict[str, Begin]:
    counters = front_end.counters
    return {"Check": Lookup(counters, "health", health.check).begin, "List": Lookup(counters, "health", health.list).begin}


def _is_large(message: bytes) -> bool:
    return len(message) > HEAVY


def _named(service: str, methods: Mapping[str, T]) -> dict[bytes, T]:
    return {f"/{service}/{name}".encode(): method for name, method in methods.items()}
