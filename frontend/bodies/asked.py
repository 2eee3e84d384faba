"""What a request says besides its tensors: which model and signature, which outputs, and how long it may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from frontend.catalog import ModelSpec
from ringserve.errors import Code, ServingError
from ringserve.priority import HEADER, is_low
from ringserve.signature import DEFAULT_SIGNATURE

SIGNATURE: Final = "X-Ringserve-Signature"
OUTPUTS: Final = "X-Ringserve-Outputs"
_KEY: Final = "X-Ringserve-Key"
_WHERE: Final = f"The header {HEADER}"


class Asked(NamedTuple):
    """`outputs`: aliases, none for all of them; `timeout` in ns, None: as the server says; `low`: is it of low priority?
    None: as the headers say.
    """

    spec: ModelSpec
    signature: str
    outputs: tuple[str, ...]
    timeout: int | None = None
    low: bool | None = None


def is_low_in_headers(headers: Mapping[str, str]) -> bool:
    """Is the request of low priority? Raises ServingError (INVALID_ARGUMENT) for what is no priority."""
    priority = headers.get(HEADER)
    return priority is not None and is_low(priority, _WHERE)


def asked_in_headers(headers: Mapping[str, str], spec: ModelSpec) -> Asked:
    """For bodies that are nothing but arrays."""
    return Asked(spec, readable(headers.get(SIGNATURE, "").strip()) or DEFAULT_SIGNATURE, outputs_in_headers(headers))


def outputs_in_headers(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Aliases, in the order in which the client wants them; none: all outputs."""
    text = headers.get(OUTPUTS)
    if text is None:
        return ()
    return tuple([alias for part in readable(text).split(",") if (alias := part.strip())])


def readable(text: str) -> str:
    """Text of a client, where bytes that are no UTF-8 may hide in surrogates, as text that can be sent back."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def joined_spec(url: ModelSpec, name: str, version: int | None, label: str | None, headers: Mapping[str, str]) -> ModelSpec:
    """The version that the URL and a message ask for together. Raises ServingError where they contradict each other.

    `name` "", `version` None, `label` None: the message does not say.
    """
    if name and name != url.name:
        raise _contradiction(f"model {url.name}", f"model {name}")
    if version is None and label is None:
        return url
    message = f"version {version}" if version is not None else f"label {label}"
    if version is not None and label is not None:
        raise _contradiction(f"model {url.name}", f"version {version} and label {label} at once")
    if url.version is None and url.label is None:
        return url._replace(version=version, label=label, key=label and (headers.get(_KEY) or None))
    if (url.version, url.label) != (version, label):
        wanted = f"version {url.version}" if url.version is not None else f"label {url.label}"
        raise _contradiction(wanted, message)
    return url


def _contradiction(url: str, message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"The URL asks for {url}, the message in the body for {message}")
