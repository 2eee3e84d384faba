"""What a request line asks for: upstream's two regular expressions, on path and query as they were sent; and our paths."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from frontend.catalog import ModelSpec
from ringserve.errors import Code, ServingError

# The literals match in any case, as upstream's do; the verb and "metadata" are then compared exactly.
_INFERENCE: Final = re.compile(
    r"/v1/models/([^/:]+)(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)", re.IGNORECASE
)
_STATUS: Final = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?(?:/(metadata))?", re.IGNORECASE
)
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_PREFIX: Final = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_INT64: Final = 1 << 63
INFERENCE: Final = frozenset(("predict", "classify", "regress"))


class Target(NamedTuple):
    """`what`: predict, classify, regress, metadata or status; or, of no model, openapi, index, health or metrics."""

    what: str
    spec: ModelSpec


_OWN: Final = {
    path: Target(what, ModelSpec(""))
    for path, what in {
        "/": "index",
        "/metrics": "metrics",
        "/healthz": "health",
        "/livez": "health",
        "/readyz": "health",
        "/v1/openapi.json": "openapi",
    }.items()
}
_HEALTH_OF_ONE: Final = "/readyz/"
_LOOKS: Final = ("GET", "HEAD")


class VersionError(ServingError):
    """A version too large for 64 bits: upstream answers 400 with an empty body."""


def origin_form(target: str) -> str:
    """The path of a target that names its server, as requests to proxies do: they are to be taken everywhere (RFC 9112)."""
    match = _ABSOLUTE.match(target)
    return target if match is None else target[match.end() :] or "/"


def is_ours(path: str) -> bool:
    """Does this path belong to the API at all? Others get a plain 404 page."""
    return _PREFIX.fullmatch(path) is not None


@lru_cache(512)  # clients ask for the same few again and again
def parse_target(method: str, path: str) -> Target | None:
    """None for a path outside the API. Raises ServingError with upstream's text for a malformed one inside."""
    if method in _LOOKS:
        own = _OWN.get(path.partition("?")[0])
        if own is not None:
            return own
        if path.startswith(_HEALTH_OF_ONE):
            return _OWN["/readyz"]
    if not is_ours(path):
        return None
    if method == "POST":
        match = _INFERENCE.fullmatch(path)
        if match is not None and match[4] in INFERENCE:
            return Target(match[4], _spec(match))
    elif method == "GET":
        match = _STATUS.fullmatch(path)
        if match is not None:
            if not match[1]:
                raise ServingError(Code.INVALID_ARGUMENT, "Missing model name in request.")
            return Target("metadata" if match[4] == "metadata" else "status", _spec(match))
    raise ServingError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")


def _spec(match: re.Match[str]) -> ModelSpec:
    name, version, label = match[1], match[2], match[3]
    digits = None if version is None else version.lstrip("0") or "0"
    number = None if digits is None else int(digits) if len(digits) < 20 else _INT64
    if number is not None and number >= _INT64:
        raise VersionError(Code.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
    return ModelSpec(_decode(name), number, None if label is None else _decode(label))


def _decode(text: str) -> str:
    """Percent-decoded; a `%` that begins no escape stays, and so does `+`."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
