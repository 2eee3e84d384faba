"""REST client: the few calls the command line makes to a running server, on the standard library alone."""

import http.client
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from ringserve.errors import Code, ServingError

_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version of a model: its state (`AVAILABLE`, `LOADING`, ...), and why it failed if it did."""

    version: int
    state: str
    error: str


class RestClient:
    """One server, addressed by its URL. Each call opens a connection of its own; `timeout` is in seconds.

    Every failure is a ServingError: the server's own text for an error answer, UNAVAILABLE where it cannot
    be reached, DEADLINE_EXCEEDED where it does not answer in time, INVALID_ARGUMENT for a malformed URL.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        try:
            parts = urlsplit(self.url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ServingError(Code.INVALID_ARGUMENT, f"not a server's URL: {url} ({error})") from error
        if parts.scheme not in ("http", "https") or not self._host or parts.query or parts.fragment:
            raise ServingError(Code.INVALID_ARGUMENT, f"not a server's URL: {url} (http://host:port expected)")
        self._secure = parts.scheme == "https"
        self._prefix = parts.path

    def predict(self, model: str, body: bytes, version: int | None = None) -> bytes:
        """Posts a whole predict request; returns the answer's body."""
        which = "" if version is None else f"/versions/{version}"
        return self._call("POST", f"/v1/models/{quote(model, safe='')}{which}:predict", body)

    def status(self, model: str) -> bytes:
        """The states of a model's versions, as JSON text."""
        return self._call("GET", f"/v1/models/{quote(model, safe='')}", None)

    def _call(self, verb: str, path: str, body: bytes | None) -> bytes:
        connect = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = connect(self._host, self._port, timeout=self.timeout)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.connect()
            with suppress(BrokenPipeError, ConnectionResetError):  # refusing a body midway is an answer too
                connection.request(verb, self._prefix + path, body, headers)
            answer = connection.getresponse()
            payload = answer.read()
        except TimeoutError as error:
            text = f"no answer from {self.url} within {self.timeout:g} s"
            raise ServingError(Code.DEADLINE_EXCEEDED, text) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServingError(Code.UNAVAILABLE, f"cannot reach {self.url}: {reason}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            text = _error_text(payload) or f"HTTP {answer.status} {answer.reason}"
            raise ServingError(_CODES.get(answer.status, Code.UNKNOWN), text)
        return payload


def parse_status(payload: bytes) -> list[VersionStatus]:
    """Reads the answer of RestClient.status. Raises ServingError (INTERNAL) for anything else."""
    try:
        return [_version_status(entry) for entry in json.loads(payload)["model_version_status"]]
    except (ValueError, LookupError, TypeError) as error:
        raise ServingError(Code.INTERNAL, "the answer is not the status of a model") from error


def _version_status(entry: Any) -> VersionStatus:
    status = entry["status"]
    error = "" if status["error_code"] == "OK" else f"{status['error_code']}: {status['error_message']}"
    return VersionStatus(int(entry["version"]), str(entry["state"]), error)


def _error_text(payload: bytes) -> str:
    """The server's own words; empty for an answer that some other server gave."""
    try:
        return str(json.loads(payload)["error"])
    except (ValueError, LookupError, TypeError):
        return ""
