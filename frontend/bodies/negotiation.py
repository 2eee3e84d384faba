"""Which kind of body a request has, and which kind of answer it gets: by Content-Type and Accept.

A content type that is not known here is JSON, whatever it says: upstream looks at none. For the same reason
`application/octet-stream`, which some clients send with JSON, is a tensor's bytes only where a header says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from frontend.bodies.asked import Asked, asked_in_headers, joined_spec, outputs_in_headers
from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.bodies.json_answer import JsonAnswer
from frontend.bodies.kinds import Kind, accepted_kind, kind_of
from frontend.bodies.message_body import MessageAnswer, MessageBody
from frontend.bodies.numpy_bodies import NpyAnswer, NpyBody, NpzAnswer, NpzBody
from frontend.bodies.predict_messages import read_predict_request
from frontend.bodies.predict_request_body import PredictRequestBody, PredictResponseAnswer
from frontend.bodies.raw_body import DTYPE, SHAPE, RawAnswer, RawBody
from frontend.bodies.tensor_body import AskingBody, TensorAnswer
from frontend.bodies.tensor_message import read_request
from frontend.bodies.weight import is_heavy
from frontend.catalog import ModelSpec
from frontend.request_body import AnswerFormat
from ringserve.signature import DEFAULT_SIGNATURE

__all__ = ["BodyOptions", "Decoder", "answer_format", "decoder", "is_heavy"]


class Decoder(Protocol):
    """Reads a body of one kind."""

    def __call__(self, body: Buffer, headers: Mapping[str, str], spec: ModelSpec, options: BodyOptions) -> AskingBody:
        """`headers`: any case; `spec`: what the URL asks for. Raises ServingError. The body must not change any more.

        May be called in any thread.
        """


def decoder(content_type: str, headers: Mapping[str, str]) -> Decoder | None:
    """What reads a body of this content type; None: it is JSON."""
    if not content_type or content_type == "application/json":  # nearly always
        return None
    kind = kind_of(content_type)
    if kind is Kind.RAW and DTYPE not in headers and SHAPE not in headers:
        return None
    return None if kind is None else _DECODERS.get(kind)


def answer_format(accept: str, headers: Mapping[str, str], is_json: bool, options: BodyOptions) -> AnswerFormat | None:
    """What the client asks to be answered in instead of JSON; None: nothing else. `is_json`: the request's body is.

    Other bodies look at what is accepted themselves, and answer accordingly.
    """
    kind = accepted_kind(accept) if is_json else None
    if kind is None or kind is Kind.JSON:
        return None
    return _answer(kind, outputs_in_headers(headers), options)


def _answer(kind: Kind, outputs: tuple[str, ...], options: BodyOptions, identifier: Any = None) -> TensorAnswer:
    if kind is Kind.MESSAGE:
        return MessageAnswer(outputs, identifier)
    if kind is Kind.PROTOBUF:
        return PredictResponseAnswer(outputs, options.tensor_content)
    plain: type[JsonAnswer | NpyAnswer | NpzAnswer | RawAnswer] = _PLAIN[kind]
    return plain(outputs)


def _answer_to(
    kind: Kind, outputs: tuple[str, ...], headers: Mapping[str, str], options: BodyOptions, identifier: Any = None
) -> TensorAnswer:
    """In the kind of the request, where the client asks for no other."""
    accept = headers.get("Accept")
    if accept is not None and accept != "*/*":
        kind = accepted_kind(accept) or kind
    return _answer(kind, outputs, options, identifier)


def _decode_npy(body: Buffer, headers: Mapping[str, str], spec: ModelSpec, options: BodyOptions) -> NpyBody:
    asked = asked_in_headers(headers, spec)
    return NpyBody(body, asked, _answer_to(Kind.NPY, asked.outputs, headers, options), options)


def _decode_npz(body: Buffer, headers: Mapping[str, str], spec: ModelSpec, options: BodyOptions) -> NpzBody:
    asked = asked_in_headers(headers, spec)
    return NpzBody(body, asked, _answer_to(Kind.NPZ, asked.outputs, headers, options), options)


def _decode_raw(body: Buffer, headers: Mapping[str, str], spec: ModelSpec, options: BodyOptions) -> RawBody:
    asked = asked_in_headers(headers, spec)
    return RawBody(body, headers, asked, _answer_to(Kind.RAW, asked.outputs, headers, options), options)


def _decode_message(body: Buffer, headers: Mapping[str, str], spec: ModelSpec, options: BodyOptions) -> MessageBody:
    request = read_request(body, options.most_bytes)
    in_headers = asked_in_headers(headers, spec)
    asked = Asked(
        joined_spec(spec, request.model, request.version, request.label, headers),
        request.signature or in_headers.signature,
        request.outputs or in_headers.outputs,
        request.timeout,
        request.low,
    )
    return MessageBody(
        request, asked, _answer_to(Kind.MESSAGE, asked.outputs, headers, options, request.identifier), options
    )


def _decode_protobuf(body: Buffer, headers: Mapping[str, str], spec: ModelSpec, options: BodyOptions) -> PredictRequestBody:
    request = read_predict_request(body)
    name, version, label, signature_name = request.model_spec or ("", None, None, "")
    joined = joined_spec(spec, name, version, label or None, headers)
    outputs = tuple(request.output_filter) or outputs_in_headers(headers)
    asked = Asked(joined, signature_name or DEFAULT_SIGNATURE, outputs)
    return PredictRequestBody(request, asked, _answer_to(Kind.PROTOBUF, outputs, headers, options), options)


_DECODERS: Final[dict[Kind, Decoder]] = {
    Kind.NPY: _decode_npy,
    Kind.NPZ: _decode_npz,
    Kind.RAW: _decode_raw,
    Kind.MESSAGE: _decode_message,
    Kind.PROTOBUF: _decode_protobuf,
}
_PLAIN: Final[dict[Kind, type[JsonAnswer | NpyAnswer | NpzAnswer | RawAnswer]]] = {
    Kind.JSON: JsonAnswer,
    Kind.NPY: NpyAnswer,
    Kind.NPZ: NpzAnswer,
    Kind.RAW: RawAnswer,
}
