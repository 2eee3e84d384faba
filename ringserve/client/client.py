"""A client of TensorFlow Serving's gRPC API, for ringserve's own server and for upstream's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

from ringserve.client import answer_reader
from ringserve.client.address import Address
from ringserve.client.answers import Classification, Metadata, Prediction, Regression, VersionState
from ringserve.client.call_future import CallFuture
from ringserve.client.deadline import Deadline, limit
from ringserve.client.example_features import Example, one_serialised, serialised
from ringserve.client.grpc_transport import GrpcTransport
from ringserve.client.key import beside
from ringserve.client.predict_requests import PredictRequests, Which
from ringserve.client.prediction_reader import prediction
from ringserve.client.prediction_stream import PredictionStream
from ringserve.client.tls import Tls
from ringserve.client.transport import Transport
from ringserve.errors import Code, ServingError
from ringserve.example_request_writer import example_request
from ringserve.model_spec_writer import model_spec_field, text_field

DEFAULT_TIMEOUT: Final = 60.0

_PREDICTION: Final = "/tensorflow.serving.PredictionService/"
_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
_HEALTH: Final = "/grpc.health.v1.Health/Check"
_SERVICE_TAG: Final = b"\x0a"  # of a HealthCheckRequest
_SIGNATURES: Final = text_field(b"\x12", "signature_def")  # the metadata that there is
_NOT_READY: Final = (Code.NOT_FOUND, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


class Client:
    """One server, by its address: `grpc://host:port`, `grpcs://host:port` (TLS), `grpc+unix:///path/of/a/socket`.

    It connects when it is first used, and again when the connection was lost; a call is never made twice. Any number of
    threads may use it. `timeout`: seconds that a call may take where it doesn't say itself; None: as long as it takes.

    Every call raises ServingError: what the server says, UNAVAILABLE where it can't be reached, DEADLINE_EXCEEDED when it
    does not answer in time, INVALID_ARGUMENT for what can't be sent. A call's `timeout` is in seconds, `math.inf` for no
    limit; ValueError for what is no time. A model's `version` is a number, or `label` names one; without either the newest
    is asked. Where a label splits its requests among versions, those with the same `key` get the same version.
    """

    def __init__(self, address: str, *, tls: Tls | None = None, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Raises ValueError for an address of another form, for `tls` without grpcs://, and for what is no time."""
        self.address = address
        self._transport: Transport = GrpcTransport(Address.of(address), tls)
        self._timeout = limit(timeout)
        self._requests = PredictRequests(self._metadata)

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> Prediction:
        """The signature's outputs, or those that `outputs` names.

        `inputs`: arrays by alias, or just one where the signature has just one input. Arrays are sent with the type that
        they have; plain numbers and lists of them take the input's. Where that, or the alias, is not known yet, the server
        is asked for the model's signatures first; they are remembered for 30 s.
        """
        deadline, metadata = Deadline(self._seconds(timeout)), beside(key)
        message = self._requests.serialised((model, version, label), inputs, signature, outputs, deadline.seconds)
        return prediction(self._transport.call(_PREDICTION + "Predict", message, deadline.left(), metadata))

    def submit(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> Future[Prediction]:
        """As `predict`, without waiting: `Future.cancel` ends the call.

        How many there are at a time is for the caller to limit; for many small requests `stream` is quicker.
        """
        deadline, metadata = Deadline(self._seconds(timeout)), beside(key)
        message = self._requests.serialised((model, version, label), inputs, signature, outputs, deadline.seconds)
        future = CallFuture(prediction)
        future.start(self._transport, _PREDICTION + "Predict", message, deadline.left(), metadata)
        return future

    def stream(
        self, *, most_outstanding: int = 1024, timeout: float | None = None, key: str | None = None
    ) -> PredictionStream:
        """Many small requests on one call, as a context manager; only ringserve's server has it.

        `most_outstanding`: requests without a result, beyond which `submit` waits; `timeout`: of the whole stream,
        which has no limit of its own; `key`: of all its requests.
        """
        if most_outstanding < 1:
            raise ValueError(f"most_outstanding is {most_outstanding}; at least 1 is needed")
        return PredictionStream(
            self._transport, self._requests, self._seconds, most_outstanding, limit(timeout), beside(key)
        )

    def classify(
        self,
        model: str,
        examples: Iterable[Example],
        *,
        context: Example | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
        key: str | None = None,
    ) -> Classification:
        """`examples`: for each a dict of features (numbers, texts, or lists of them), or the bytes of a tf.Example;
        `context`: features that all of them have, where an example has none of that name itself.
        """
        message = _example_message((model, version, label), examples, context, signature)
        return answer_reader.classification(self._call(_PREDICTION + "Classify", message, timeout, key))

    def regress(
        self,
        model: str,
        examples: Iterable[Example],
        *,
        context: Example | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
        key: str | None = None,
    ) -> Regression:
        """As `classify`; a value for each example."""
        message = _example_message((model, version, label), examples, context, signature)
        return answer_reader.regression(self._call(_PREDICTION + "Regress", message, timeout, key))

    def status(self, model: str, version: int | None = None, *, timeout: float | None = None) -> list[VersionState]:
        """Of every version that the server has known, or of one of them."""
        return answer_reader.version_states(self._call(_STATUS, model_spec_field(model, version), timeout))

    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> Metadata:
        """A version's signatures."""
        return self._metadata((model, version, label), self._seconds(timeout))

    def is_ready(self, model: str = "", *, timeout: float | None = None) -> bool:
        """Is the model served, or everything that is to be, without one? Also False where no server can be reached in time.

        Raises ServingError: UNIMPLEMENTED where the server has no health service.
        """
        try:
            return answer_reader.is_serving(self._call(_HEALTH, text_field(_SERVICE_TAG, model), timeout))
        except ServingError as error:
            if error.code in _NOT_READY:
                return False
            raise

    def close(self) -> None:
        """Calls that have no answer yet fail; later ones, too."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _metadata(self, which: Which, seconds: float | None) -> Metadata:
        message = model_spec_field(*which) + _SIGNATURES
        return answer_reader.metadata(self._transport.call(_PREDICTION + "GetModelMetadata", message, seconds))

    def _call(self, method: str, message: bytes, timeout: float | None, key: str | None = None) -> bytes:
        return self._transport.call(method, message, self._seconds(timeout), beside(key))

    def _seconds(self, timeout: float | None) -> float | None:
        """None: no limit. Raises ValueError for what is no time."""
        return self._timeout if timeout is None else limit(timeout)


def _example_message(which: Which, examples: Iterable[Example], context: Example | None, signature: str) -> bytes:
    rows = serialised(examples)
    return example_request(model_spec_field(*which, signature), rows, None if context is None else one_serialised(context))
