"""HTTP, as requests are prepared for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import orjson

from bench.harness.http_reader import BadAnswerError, HttpAnswer
from bench.harness.http_requests import http_request, json_message
from bench.harness.http_transport import exchanged
from bench.harness.payload import Inputs
from bench.harness.target import PreparationError, Target
from ringserve.signature import Signature

_MOST_WORDS: Final = 500


class HttpProtocol:
    """A `protocols.Protocol`. An answer is its body, and its head without the line's end: `HttpAnswer`."""

    def takes_bodies(self, target: Target) -> bool:
        return target.form in ("json", "columns")

    def body(self, target: Target, body: bytes) -> tuple[bytes, ...]:
        return (json_message(target, body),)

    def request(self, target: Target, inputs: Inputs, signature: Signature) -> tuple[bytes, ...]:
        return (http_request(target, inputs, signature),)

    def about(self, target: Target) -> dict[str, Any]:
        return {}

    def ask(self, target: Target, parts: tuple[bytes, ...], seconds: float) -> tuple[bytes, ...]:
        try:
            answer = exchanged(target.url, parts[0], seconds)
        except (OSError, BadAnswerError) as error:
            raise PreparationError(f"{target.url}: {str(error) or 'no answer'}") from error
        if answer.head.status != 200:
            raise PreparationError(f"{target.url} answered {answer.head.status}: {_words(answer)}")
        return answer.body, answer.head.text


def _words(answer: HttpAnswer) -> str:
    """What an error's body says."""
    with suppress(orjson.JSONDecodeError):
        document = orjson.loads(answer.body)
        if isinstance(document, dict):
            for name in ("error", "detail", "message"):
                if isinstance(document.get(name), str):
                    return str(document[name])[:_MOST_WORDS]
    return answer.body[:_MOST_WORDS].decode(errors="replace") or "nothing"
