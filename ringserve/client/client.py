"""A client of model servers, for ringserve's own and, over gRPC and HTTP, for TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ringserve.client import questions
from ringserve.client.answers import Classification, Metadata, Prediction, Predictions, Regression, VersionState
from ringserve.client.array_slot import ArraySlot
from ringserve.client.call_future import CallFuture
from ringserve.client.call_window import CallWindow
from ringserve.client.deadline import DEFAULT_TIMEOUT, limit
from ringserve.client.example_features import Example
from ringserve.client.input_tensors import input_tensors
from ringserve.client.key import checked_key
from ringserve.client.known_signatures import KnownSignatures, SignatureNeeded, named_signature
from ringserve.client.names import checked_outputs, checked_which
from ringserve.client.operations import MetadataOf, Models, Predict, Which
from ringserve.client.prediction_stream import PredictionStream
from ringserve.client.priority import checked_priority
from ringserve.client.questions import ExampleWords, PredictWords
from ringserve.client.signature_lookup import SignatureLookup
from ringserve.client.slot import Slot
from ringserve.client.tls import Tls
from ringserve.client.transport import SlotTransport, StreamTransport
from ringserve.client.transports import transport_of
from ringserve.errors import ServingError
from ringserve.priority import HIGH
from ringserve.signature import Signature

if TYPE_CHECKING:
    from ringserve.client.zmq.keys import CurveKeys


class Client:
    """One server, by its URL: `grpc://host:port`, `grpcs://host:port` (TLS), `grpc+unix:///path/of/a/socket`,
    `http://host:port`, `https://host:port`, `zmq://host:port`, `zmq+ipc:///path`, `shm:///path`.

    It connects when it is first used, and again when the connection was lost; a request that may have reached the server is
    not sent again. Any number of threads may use it, and children of a fork as if it were a new one. `timeout`: seconds that
    a call may take where it doesn't say itself; None: as long as it takes.

    Every call raises ServingError: what the server says, UNAVAILABLE where it can't be reached, DEADLINE_EXCEEDED when it
    does not answer in time, INVALID_ARGUMENT for what can't be sent. A call's `timeout` is in seconds, `math.inf` for no
    limit; ValueError for what is no time. A model's `version` is a number, or `label` names one; without either the newest
    is asked. Where a label splits its requests among versions, those with the same `key` get the same version. With
    `priority="low"` a request is run when no others wait for their turn, or to fill up a batch; it is "high" otherwise.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        curve: CurveKeys | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """`tls`: for grpcs:// and https://; `curve`: for zmq:// with keys.

        Raises ValueError for an address of another form, for `tls` and `curve` where they mean nothing, and for what is no
        time; OSError where a file of `tls` can't be read.
        """
        self.address = address
        self._timeout = limit(timeout)
        self._transport = transport_of(address, tls, curve)
        self._signatures = KnownSignatures()

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
        priority: str = HIGH,
    ) -> Prediction:
        """The signature's outputs, or those that `outputs` names.

        `inputs`: arrays by alias, or just one where the signature has just one input. Arrays are sent with the type that
        they have; plain numbers and lists of them take the input's. Where that, or the alias, is not known yet, the server
        is asked for the model's signatures first; they are remembered for 30 s.
        """
        seconds = self._seconds(timeout)
        operation, left = self._predict(
            model, version, label, signature, inputs, outputs, key, checked_priority(priority), seconds
        )
        return self._transport.call(operation, left)

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
        priority: str = HIGH,
    ) -> Future[Prediction]:
        """As `predict`, without waiting: `Future.cancel` ends the call.

        How many there are at a time is for the caller to limit; for many small requests `stream` is quicker.
        """
        seconds = self._seconds(timeout)
        operation, left = self._predict(
            model, version, label, signature, inputs, outputs, key, checked_priority(priority), seconds
        )
        future: CallFuture[Prediction] = CallFuture()
        future.start(self._transport, operation, left)
        return future

    def predict_each(
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
        priority: str = HIGH,
    ) -> Predictions:
        """Many requests in one call: row i of every input is request i, and is answered as if it had come alone.

        All inputs are numbers. Those that fail are in the answer's `errors`; ServingError where all have failed alike.
        """
        words = PredictWords.of(model, version, label, signature, outputs, key, priority)
        lookup = SignatureLookup(self._signature, words.which, signature, self._seconds(timeout))
        operation = words.predict_each(inputs, lookup)
        return self._transport.call(operation, lookup.left)

    def submit_each(
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
        priority: str = HIGH,
    ) -> Future[Predictions]:
        """As `predict_each`, without waiting."""
        words = PredictWords.of(model, version, label, signature, outputs, key, priority)
        lookup = SignatureLookup(self._signature, words.which, signature, self._seconds(timeout))
        operation = words.predict_each(inputs, lookup)
        future: CallFuture[Predictions] = CallFuture()
        future.start(self._transport, operation, lookup.left)
        return future

    def stream(
        self,
        *,
        most_outstanding: int = 1024,
        timeout: float | None = None,
        key: str | None = None,
        priority: str = HIGH,
    ) -> PredictionStream:
        """Many small requests, as a context manager: over gRPC on one call, which only ringserve's server has.

        `most_outstanding`: requests without a result, beyond which `submit` waits; `timeout`: of the whole stream,
        which has no limit of its own; `key`, `priority`: of all its requests.
        """
        if most_outstanding < 1:
            raise ValueError(f"most_outstanding is {most_outstanding}; at least 1 is needed")
        seconds, checked, low = limit(timeout), checked_key(key), checked_priority(priority)
        if isinstance(self._transport, StreamTransport):
            way = self._transport.stream(most_outstanding, seconds, checked, low)
        else:
            way = CallWindow(self._transport, most_outstanding, seconds)
        return PredictionStream(way, self._predict, self._seconds, checked, low)

    def slot(
        self, model: str, rows: int, *, version: int | None = None, label: str | None = None, signature: str = ""
    ) -> Slot:
        """A request of so many rows that is made in place, as a context manager; with shm:// nothing is copied.

        Raises ServingError: FAILED_PRECONDITION where the signature's rows have no fixed form.
        """
        if rows < 1:
            raise ValueError(f"rows is {rows}; at least 1 is needed")
        which = checked_which(model, version, label, signature)
        if isinstance(self._transport, SlotTransport):
            return self._transport.slot(which, signature, rows, self._timeout)
        return ArraySlot(self._run, which, self._signature(which, signature, self._timeout), rows)

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
        priority: str = HIGH,
    ) -> Classification:
        """`examples`: for each a dict of features (numbers, texts, or lists of them), or the bytes of a tf.Example;
        `context`: features that all of them have, where an example has none of that name itself.
        """
        seconds = self._seconds(timeout)
        words = ExampleWords.of(model, version, label, signature, examples, context, key, priority)
        return self._transport.call(words.classify(), seconds)

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
        priority: str = HIGH,
    ) -> Regression:
        """As `classify`; a value for each example."""
        seconds = self._seconds(timeout)
        words = ExampleWords.of(model, version, label, signature, examples, context, key, priority)
        return self._transport.call(words.regress(), seconds)

    def status(self, model: str, version: int | None = None, *, timeout: float | None = None) -> list[VersionState]:
        """Of every version that the server has known, or of one of them."""
        return self._transport.call(questions.status(model, version), self._seconds(timeout))

    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> Metadata:
        """A version's signatures."""
        return self._transport.call(questions.metadata_of(model, version, label), self._seconds(timeout))

    def models(self, *, timeout: float | None = None) -> list[str]:
        """The names of all models, sorted.

        Raises ServingError: UNIMPLEMENTED over gRPC where the server is not ringserve's; upstream's has no such call.
        """
        return self._transport.call(Models(), self._seconds(timeout))

    def is_ready(self, model: str = "", *, timeout: float | None = None) -> bool:
        """Is the model served, or everything that is to be, without one? Also False where no server can be reached in time.

        Raises ServingError: UNIMPLEMENTED where the server has no health service.
        """
        try:
            return self._transport.call(questions.ready(model), self._seconds(timeout))
        except ServingError as error:
            if questions.is_not_ready(error):
                return False
            raise

    def close(self) -> None:
        """Calls that have no answer yet fail; later ones, too."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _predict(
        self,
        model: str,
        version: int | None,
        label: str | None,
        signature: str,
        inputs: Any,
        outputs: Sequence[str] | None,
        key: str | None,
        low: bool,
        seconds: float | None,
    ) -> tuple[Predict, float | None]:
        """The operation, and what is left of its seconds."""
        which = checked_which(model, version, label, signature)
        lookup = SignatureLookup(self._signature, which, signature, seconds)
        tensors = input_tensors(inputs, lookup)
        return Predict(which, signature, tensors, checked_outputs(outputs), checked_key(key), low), lookup.left

    def _signature(self, which: Which, name: str, seconds: float | None) -> Signature:
        try:
            return self._signatures.find(which, name)
        except SignatureNeeded:
            metadata = self._transport.call(MetadataOf(which), seconds)
        self._signatures.keep(which, metadata)
        return named_signature(metadata, name)

    def _run(self, operation: Predict, timeout: float | None) -> Prediction:
        return self._transport.call(operation, self._seconds(timeout))

    def _seconds(self, timeout: float | None) -> float | None:
        """None: no limit. Raises ValueError for what is no time."""
        return self._timeout if timeout is None else limit(timeout)
