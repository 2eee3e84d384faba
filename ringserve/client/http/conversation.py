"""What is asked of a server over HTTP, and what its answers mean: ringserve's own, and upstream's."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from ringserve.client.answers import Classification, Metadata, Prediction, Regression, Source
from ringserve.client.deadline import Deadline
from ringserve.client.http import facts as http_facts
from ringserve.client.http.answer_frames import prediction
from ringserve.client.http.connections import HttpConnections
from ringserve.client.http.examples import examples_body
from ringserve.client.http.exchange import Buffer, HttpAnswer, HttpCall, HttpQuestion
from ringserve.client.http.json import json_body, json_prediction
from ringserve.client.http.messages import MSGPACK, predict_body
from ringserve.client.http.paths import model_path, ready_path
from ringserve.client.known_signatures import KnownSignatures, SignatureNeeded
from ringserve.client.operations import Classify, MetadataOf, Models, Operation, Predict, Ready, Regress, Status, Which
from ringserve.client.tensor_message import damaged
from ringserve.errors import Code, ServingError
from ringserve.priority import HEADER, LOW
from ringserve.servable import State
from ringserve.signature import DEFAULT_SIGNATURE, Signature

_JSON: Final = "application/json"
_KEY: Final = "X-Ringserve-Key"
_NO_JSON: Final = "JSON Parse error"  # how upstream begins its answer to whatever isn't
_OPENAPI: Final = "/v1/openapi.json"


class HttpConversation:
    """Used by several threads at once, in one process."""

    def __init__(self, connections: HttpConnections) -> None:
        self._connections = connections
        self._signatures = KnownSignatures()
        self._only_json = False

    def answer(self, operation: Operation[Any], deadline: Deadline, call: HttpCall) -> Any:
        """Waits for it. Raises ServingError."""
        match operation:
            case Predict():
                return self._predict(operation, deadline, call)
            case Classify() | Regress():
                return self._examples(operation, deadline, call)
            case Status(model, version):
                answer = self.ask(HttpQuestion("GET", model_path((model, version, None))), deadline, call)
                return http_facts.version_states(answer.checked().document())
            case MetadataOf(which):
                return self._metadata(which, deadline, call)
            case Models():
                return self._models(deadline, call)
            case Ready(model):
                return self._is_ready(model, deadline, call)
            case _:
                raise ServingError(Code.UNIMPLEMENTED, f"There is no {type(operation).__name__} over HTTP")

    def ask(self, question: HttpQuestion, deadline: Deadline, call: HttpCall) -> HttpAnswer:
        """Any question, as it is, and any answer."""
        return self._connections.exchange(question, deadline, call)

    def _predict(self, operation: Predict, deadline: Deadline, call: HttpCall) -> Prediction:
        """A server is taken for ringserve's until it takes the message for JSON: that costs nothing where it is.

        Asking again is safe then: what could not be read has not been run.
        """
        if not self._only_json:
            answer = self._post(operation, predict_body(operation, deadline.seconds), MSGPACK, deadline, call)
            error = answer.error()
            if error is None:
                return _prediction(answer)
            if answer.status != HTTPStatus.BAD_REQUEST or not error.message.startswith(_NO_JSON):
                raise error
            self._only_json = True
        signature = self._signature(operation.which, operation.signature, deadline, call)
        answer = self._post(operation, json_body(operation, signature), _JSON, deadline, call).checked()
        return json_prediction(answer.document(), operation, signature)

    def _examples(self, operation: Classify | Regress, deadline: Deadline, call: HttpCall) -> Classification | Regression:
        """The answer doesn't say which version it comes from: 0, where the request didn't name one."""
        answer = self._post(operation, [examples_body(operation)], _JSON, deadline, call).checked()
        model, version, _ = operation.which
        source = Source(model, version or 0, operation.signature or DEFAULT_SIGNATURE)
        if isinstance(operation, Classify):
            return http_facts.classification(answer.document(), source)
        return http_facts.regression(answer.document(), source)

    def _post(
        self, operation: Predict | Classify | Regress, body: list[Buffer], kind: str, deadline: Deadline, call: HttpCall
    ) -> HttpAnswer:
        headers: Mapping[str, str] = {"Content-Type": kind}
        if operation.key is not None:
            headers = {**headers, _KEY: operation.key}
        if operation.low:
            headers = {**headers, HEADER: LOW}
        path = f"{model_path(operation.which)}:{type(operation).__name__.lower()}"
        return self.ask(HttpQuestion("POST", path, body, headers), deadline, call)

    def _metadata(self, which: Which, deadline: Deadline, call: HttpCall) -> Metadata:
        answer = self.ask(HttpQuestion("GET", f"{model_path(which)}/metadata"), deadline, call)
        return http_facts.metadata(answer.checked().document())

    def _signature(self, which: Which, name: str, deadline: Deadline, call: HttpCall) -> Signature:
        try:
            return self._signatures.find(which, name)
        except SignatureNeeded:
            self._signatures.keep(which, self._metadata(which, deadline, call))
        return self._signatures.find(which, name)

    def _models(self, deadline: Deadline, call: HttpCall) -> list[str]:
        answer = self.ask(HttpQuestion("GET", _OPENAPI), deadline, call)
        error = answer.error()
        if error is None:
            return http_facts.model_names(answer.document())
        if error.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND):
            text = "TensorFlow Serving's REST API can't name the models; ringserve's server can"
            raise ServingError(Code.UNIMPLEMENTED, text) from error
        raise error

    def _is_ready(self, model: str, deadline: Deadline, call: HttpCall) -> bool:
        answer = self.ask(HttpQuestion("GET", ready_path(model)), deadline, call)
        if answer.status == HTTPStatus.OK:
            return True
        if isinstance(answer.document(), dict):  # ringserve's, also where there is no such model
            if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE):
                return False
            answer.checked()
        if answer.status != HTTPStatus.NOT_FOUND:
            answer.checked()
        if not model:
            raise ServingError(Code.UNIMPLEMENTED, "TensorFlow Serving's REST API can't say whether all models are ready")
        found = self.answer(Status(model), deadline, call)
        return any(version.state is State.AVAILABLE for version in found)


def _prediction(answer: HttpAnswer) -> Prediction:
    kind = answer.headers.get("Content-Type", "")
    if kind != MSGPACK:
        raise damaged(f"it is {kind or 'of no content type'}, where {MSGPACK} is expected")
    return prediction(answer.body)
