"""The client for asyncio: the same calls as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ringserve.client import questions
from ringserve.client.answers import Classification, Metadata, Prediction, Predictions, Regression, VersionState
from ringserve.client.deadline import DEFAULT_TIMEOUT, Deadline, limit
from ringserve.client.example_features import Example
from ringserve.client.input_tensors import Lookup
from ringserve.client.known_signatures import KnownSignatures, SignatureNeeded, named_signature
from ringserve.client.loop_answers import LoopAnswers
from ringserve.client.operations import MetadataOf, Models, Operation
from ringserve.client.questions import ExampleWords, PredictWords
from ringserve.client.tls import Tls
from ringserve.client.transports import transport_of
from ringserve.errors import ServingError
from ringserve.priority import HIGH

if TYPE_CHECKING:
    from ringserve.client.zmq.keys import CurveKeys

T = TypeVar("T")


class AsyncClient:
    """As `Client`, with the same URLs, arguments and errors. It belongs to no event loop: several may use it.

    Cancelling the task that waits for a call ends the call.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        curve: CurveKeys | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """Raises as `Client` does."""
        self.address = address
        self._timeout = limit(timeout)
        self._transport = transport_of(address, tls, curve)
        self._signatures = KnownSignatures()
        self._answers: LoopAnswers | None = None

    async def predict(
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
        """The signature's outputs, or those that `outputs` names. Inputs are as `Client.predict` takes them."""
        words = PredictWords.of(model, version, label, signature, outputs, key, priority)
        operation, left = await self._with_inputs(partial(words.predict, inputs), words, self._seconds(timeout))
        return await self._answer(operation, left)

    async def predict_each(
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
        """Many requests in one call: row i of every input is request i, and is answered as if it had come alone."""
        words = PredictWords.of(model, version, label, signature, outputs, key, priority)
        operation, left = await self._with_inputs(partial(words.predict_each, inputs), words, self._seconds(timeout))
        return await self._answer(operation, left)

    async def classify(
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
        """`examples`: for each a dict of features (numbers, texts, or lists of them), or the bytes of a tf.Example."""
        seconds = self._seconds(timeout)
        words = ExampleWords.of(model, version, label, signature, examples, context, key, priority)
        return await self._answer(words.classify(), seconds)

    async def regress(
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
        return await self._answer(words.regress(), seconds)

    async def status(self, model: str, version: int | None = None, *, timeout: float | None = None) -> list[VersionState]:
        """Of every version that the server has known, or of one of them."""
        return await self._answer(questions.status(model, version), self._seconds(timeout))

    async def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> Metadata:
        """A version's signatures."""
        return await self._answer(questions.metadata_of(model, version, label), self._seconds(timeout))

    async def models(self, *, timeout: float | None = None) -> list[str]:
        """The names of all models, sorted. Raises ServingError: UNIMPLEMENTED over gRPC from upstream's server."""
        return await self._answer(Models(), self._seconds(timeout))

    async def is_ready(self, model: str = "", *, timeout: float | None = None) -> bool:
        """Is the model served, or everything that is to be, without one? Also False where no server is reached in time."""
        try:
            return await self._answer(questions.ready(model), self._seconds(timeout))
        except ServingError as error:
            if questions.is_not_ready(error):
                return False
            raise

    async def close(self) -> None:
        """Calls that have no answer yet fail; later ones, too."""
        await asyncio.to_thread(self._transport.close)  # which may wait for threads

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _with_inputs(
        self, make: Callable[[Lookup], T], words: PredictWords, seconds: float | None
    ) -> tuple[T, float | None]:
        """Asks the server for the signatures where the inputs don't say all. Returns what is left of the seconds, too."""
        try:
            return make(lambda: self._signatures.find(words.which, words.signature)), seconds
        except SignatureNeeded:
            deadline = Deadline(seconds)
            metadata = await self._answer(MetadataOf(words.which), seconds)
        self._signatures.keep(words.which, metadata)
        return make(lambda: named_signature(metadata, words.signature)), deadline.left()

    async def _answer(self, operation: Operation[T], seconds: float | None) -> T:
        answers = self._answers_here()
        waiting: asyncio.Future[T] = answers.loop.create_future()
        cancel = self._transport.start(operation, seconds, partial(answers.put, waiting))
        try:
            return await waiting
        except (asyncio.CancelledError, GeneratorExit):  # or nobody will ever go on with this
            cancel()
            raise

    def _answers_here(self) -> LoopAnswers:
        """Those of the loop that runs: mostly the one of the call before."""
        loop = asyncio.get_running_loop()
        answers = self._answers
        if answers is None or answers.loop is not loop:
            answers = self._answers = LoopAnswers(loop)
        return answers

    def _seconds(self, timeout: float | None) -> float | None:
        """None: no limit. Raises ValueError for what is no time."""
        return self._timeout if timeout is None else limit(timeout)
