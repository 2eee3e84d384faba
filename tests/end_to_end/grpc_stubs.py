"""A server's gRPC API through TensorFlow Serving's own generated stubs, and messages for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc

from ringserve.protos import message_module

_APIS: Final = "tensorflow_serving.apis"
prediction_stubs = message_module(f"{_APIS}.prediction_service_pb2_grpc")
model_stubs = message_module(f"{_APIS}.model_service_pb2_grpc")
predict_pb2 = message_module(f"{_APIS}.predict_pb2")
classification_pb2 = message_module(f"{_APIS}.classification_pb2")
regression_pb2 = message_module(f"{_APIS}.regression_pb2")
inference_pb2 = message_module(f"{_APIS}.inference_pb2")
metadata_pb2 = message_module(f"{_APIS}.get_model_metadata_pb2")
status_pb2 = message_module(f"{_APIS}.get_model_status_pb2")
management_pb2 = message_module(f"{_APIS}.model_management_pb2")
model_pb2 = message_module(f"{_APIS}.model_pb2")
example_pb2 = message_module("tensorflow.core.example.example_pb2")
tensor_pb2 = message_module("tensorflow.core.framework.tensor_pb2")
types_pb2 = message_module("tensorflow.core.framework.types_pb2")

LIMIT: Final = 20.0  # seconds that a call may take
CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"
_PREDICTION: Final = "/tensorflow.serving.PredictionService/"

#: A choice of version: a number, or a label.
Choice = int | str | None


class Refusal(NamedTuple):
    """How a call failed."""

    code: str
    text: str


class Stubs:
    """On one channel, from entering `with` until leaving it."""

    def __init__(self, target: int | str) -> None:
        """`target`: a port, or what gRPC calls a target."""
        address = f"127.0.0.1:{target}" if isinstance(target, int) else target
        # A channel of its own: gRPC shares connections between channels that are alike.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        self.channel = grpc.insecure_channel(address, options=options)
        self.prediction = prediction_stubs.PredictionServiceStub(self.channel)
        self.models = model_stubs.ModelServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.channel.close()

    def call(self, request: Any, timeout: float = LIMIT) -> Any:
        """The answer of the method whose request this is. Raises grpc.RpcError."""
        return self._method(request)(request, timeout)

    def begin(self, request: Any, timeout: float = LIMIT) -> Any:
        """The same, as a future."""
        return self._method(request).future(request, timeout)

    def _method(self, request: Any) -> Any:
        name = request.DESCRIPTOR.name.removesuffix("Request")
        name = {"Classification": "Classify", "Regression": "Regress", "ReloadConfig": "HandleReloadConfigRequest"}.get(
            name, name
        )
        return getattr(self.models if hasattr(self.models, name) else self.prediction, name)

    def refusal(self, request: Any, timeout: float = LIMIT) -> Refusal:
        """How the call fails; it has to."""
        try:
            answer = self.call(request, timeout)
        except grpc.RpcError as error:
            return Refusal(error.code().name, error.details())
        raise AssertionError(f"answered: {answer}")

    def send(self, method: str, message: bytes, timeout: float = LIMIT) -> bytes | Refusal:
        """Bytes as they are, to a method of PredictionService, or of whatever service is named with it."""
        name = method if method.startswith("/") else _PREDICTION + method
        try:
            answer: bytes = self.channel.unary_unary(name)(message, timeout)
        except grpc.RpcError as error:
            return Refusal(error.code().name, error.details())
        return answer


def model_spec(name: str, choice: Choice = None, signature: str = "") -> Any:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    if isinstance(choice, int):
        spec.version.value = choice
    elif choice is not None:
        spec.version_label = choice
    return spec


def tensor(dtype: str, shape: Iterable[int], content: Any = b"", **values: Any) -> Any:
    """`dtype`: without its DT_; `content`: bytes; `values`: lists, by the typed field."""
    message = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(f"DT_{dtype}"), tensor_content=content, **values)
    message.tensor_shape.SetInParent()
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


def floats(*values: float, shape: Sequence[int] | None = None) -> Any:
    return tensor("FLOAT", (len(values),) if shape is None else shape, float_val=values)


def predict_request(
    model: str,
    inputs: Mapping[str, Any],
    signature: str = "",
    choice: Choice = None,
    outputs: Iterable[str] = (),
) -> Any:
    request = predict_pb2.PredictRequest(model_spec=model_spec(model, choice, signature), output_filter=outputs)
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(value)
    return request


def example(**features: Any) -> Any:
    """Each feature is one value or a list: numbers with a point, whole ones, or bytes."""
    message = example_pb2.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        feature = message.features.feature[name]
        kind = type(values[0]) if values else float
        {float: feature.float_list, int: feature.int64_list, bytes: feature.bytes_list}[kind].value.extend(values)
    return message


def with_examples(request: Any, examples: Iterable[Any], context: Any = None) -> Any:
    """The request, filled with these."""
    if context is None:
        request.input.example_list.SetInParent()
        request.input.example_list.examples.extend(examples)
    else:
        request.input.example_list_with_context.context.CopyFrom(context)
        request.input.example_list_with_context.examples.extend(examples)
    return request


def classify_request(model: str, signature: str, *examples: Any, choice: Choice = None, context: Any = None) -> Any:
    spec = model_spec(model, choice, signature)
    return with_examples(classification_pb2.ClassificationRequest(model_spec=spec), examples, context)


def regress_request(model: str, signature: str, *examples: Any, choice: Choice = None, context: Any = None) -> Any:
    spec = model_spec(model, choice, signature)
    return with_examples(regression_pb2.RegressionRequest(model_spec=spec), examples, context)


def multi_request(*tasks: tuple[Any, str], examples: Iterable[Any] = (), context: Any = None) -> Any:
    """`tasks`: a model spec and a method each."""
    listed = [inference_pb2.InferenceTask(model_spec=spec, method_name=method) for spec, method in tasks]
    return with_examples(inference_pb2.MultiInferenceRequest(tasks=listed), examples, context)


def metadata_request(model: str, *fields: str, choice: Choice = None) -> Any:
    return metadata_pb2.GetModelMetadataRequest(model_spec=model_spec(model, choice), metadata_field=fields)


def status_request(model: str, choice: Choice = None) -> Any:
    return status_pb2.GetModelStatusRequest(model_spec=model_spec(model, choice))


def reload_request(*models: Any, metrics: Iterable[str] = ()) -> Any:
    """`models`: the fields of a ModelConfig each."""
    request = management_pb2.ReloadConfigRequest(metric_names=metrics)
    request.config.model_config_list.SetInParent()
    for fields in models:
        request.config.model_config_list.config.add(**fields)
    return request


def states(stubs: Stubs, model: str) -> dict[int, str]:
    """As GetModelStatus tells them, highest version first; none of a model that is not known."""
    try:
        answer = stubs.call(status_request(model))
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND, error
        return {}
    names = status_pb2.ModelVersionStatus.State.Name
    return {entry.version: names(entry.state) for entry in answer.model_version_status}
