"""The forms of requests: what peers take over HTTP, and what ringserve takes besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgpack
import numpy as np
import numpy.typing as npt
import orjson

from bench.harness.http_answers import decode_body, decode_v2
from bench.harness.http_reader import BadAnswerError, HttpAnswer
from bench.harness.http_requests import http_message
from bench.harness.http_transport import exchanged
from bench.harness.model_facts import signature_of
from bench.harness.protocols import protocol_of
from bench.harness.request_set import Request, RequestSet
from bench.harness.target import Api, Target
from bench.harness.v2_http import v2_binary, v2_json
from bench.load import WrongAnswerError
from bench.peers.peer_model import PeerModel
from ringserve.client.tensors import tensor_of

Array = npt.NDArray[Any]

#: A body, its type, and further headers.
Body = tuple[bytes, str, Mapping[str, str]]
_JSON: Final = "application/json"
ANSWER_SECONDS: Final = 30.0


class Form(Protocol):
    """A form of requests; `name`: as the tables have it."""

    @property
    def name(self) -> str: ...

    def requests(self, url: str, model: PeerModel, count: int = 0, seconds: float = ANSWER_SECONDS) -> RequestSet:
        """The first `count` requests, 0: all, each asked alone; `seconds`: for an answer.

        Raises WrongAnswerError, PreparationError and OSError; of these, ConnectionError while nobody listens.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wire:
    """What goes over HTTP; answers are compared with the model's. `body`: of the input's name and an array of one row."""

    name: str
    path: str
    body: Callable[[str, Array], Body]
    api: Api = "raw"

    def requests(self, url: str, model: PeerModel, count: int = 0, seconds: float = ANSWER_SECONDS) -> RequestSet:
        rows = model.rows()
        found = []
        for index in range(count or len(rows.inputs)):
            body, media, headers = self.body(rows.input, model.row(rows.inputs, index))
            message = http_message(Target(url, path=self.path, api="raw"), body, media, headers)
            answer = _asked(url, message, seconds)
            values = self._values(answer).reshape(1, -1)
            right = model.row(rows.answers, index)
            if values.shape != right.shape or not rows.agree(values, right).all():
                raise WrongAnswerError(f"answered {answer.body[:200]!r}")
            found.append(Request((message,), (answer.body, answer.head.text)))
        return RequestSet(url, self.api, tuple(found), {"model": model.name, "form": self.name})

    def _values(self, answer: HttpAnswer) -> Array:
        """Raises WrongAnswerError."""
        try:
            if self.api == "v2":
                (values,) = decode_v2(answer).values()
                return np.asarray(values)
            document = decode_body(answer)
            return np.asarray(document["predictions"] if isinstance(document, dict) else document, np.float32)
        except (ValueError, LookupError, TypeError) as error:
            raise WrongAnswerError(f"answered {answer.body[:200]!r}") from error


@dataclass(frozen=True, slots=True)
class OwnWire:
    """What only ringserve takes: gRPC, ZeroMQ, and bodies of bytes over HTTP. Answers are not compared with the model's."""

    name: str
    form: str = "json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def requests(self, url: str, model: PeerModel, count: int = 0, seconds: float = ANSWER_SECONDS) -> RequestSet:
        target = Target(url, model.name, form=self.form)
        protocol = protocol_of(target)
        signature = signature_of(target, seconds)
        rows = model.rows()
        found = []
        for index in range(count or len(rows.inputs)):
            inputs = {rows.input: tensor_of(model.row(rows.inputs, index))}
            parts = protocol.request(target, inputs, signature)
            found.append(Request(parts, protocol.ask(target, parts, seconds)))
        about = {"model": model.name, "form": self.name, **protocol.about(target)}
        return RequestSet(url, "tfs", tuple(found), about)


def _asked(url: str, message: bytes, seconds: float) -> HttpAnswer:
    try:
        answer = exchanged(url, message, seconds)
    except BadAnswerError as error:
        raise WrongAnswerError(f"answered what is no HTTP: {error}") from error
    if answer.head.status != 200:
        raise WrongAnswerError(f"answered {answer.head.status} {answer.body[:300]!r}")
    return answer


def json_rows(path: str) -> Wire:
    """`{"instances": [row]}`."""
    return Wire("JSON", path, lambda _, row: (_dumps({"instances": row}), _JSON, {}))


def image_bytes(path: str) -> Wire:
    """MessagePack of a map of an array's bytes and its shape; the answer is JSON."""
    return Wire("MessagePack", path, lambda _, row: (_packed(row), "application/msgpack", {}))


def v2_rows(path: str) -> Wire:
    """KServe's V2 in JSON."""
    return Wire("V2, JSON", path, lambda name, row: (v2_json({name: tensor_of(row)}), _JSON, {}), "v2")


def v2_bytes(path: str) -> Wire:
    """KServe's V2 with tensors in binary. Rows without a shape get one of a single number."""
    return Wire("V2, binary", path, _v2_bytes, "v2")


def _v2_bytes(name: str, row: Array) -> Body:
    body, length = v2_binary({name: tensor_of(row.reshape(-1, 1) if row.ndim == 1 else row)})
    return body, "application/octet-stream", {"Inference-Header-Content-Length": str(length)}


def _packed(row: Array) -> bytes:
    packed: bytes = msgpack.packb({"bytes": row.tobytes(), "shape": list(row.shape)})
    return packed


def _dumps(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
