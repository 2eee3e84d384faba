"""Plain HTTP questions, one connection each, on the standard library alone."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

LIMIT = 30  # seconds for any answer

Body = bytes | str | dict[str, Any] | None


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an error answer, which says nothing else."""
        assert self.headers["content-type"].startswith("application/json")
        document = self.json
        assert list(document) == ["error"]
        assert isinstance(document["error"], str)
        return str(document["error"])


def as_bytes(body: Body) -> bytes | None:
    if isinstance(body, dict):
        return json.dumps(body).encode()
    return body.encode() if isinstance(body, str) else body


def ask(port: int, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request(method, path, as_bytes(body), dict(headers or {}))
        return answer_of(connection.getresponse())
    finally:
        connection.close()


def answer_of(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
