"""From what is to be asked to the requests of a run: made, sent once alone, and kept with their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.harness.answers import TOLERANCE
from bench.harness.model_facts import signature_of
from bench.harness.payload import Inputs, Synthetic
from bench.harness.payload_file import bodies, file_inputs, is_bodies
from bench.harness.protocols import Protocol, protocol_of
from bench.harness.request_set import Request, RequestSet
from bench.harness.target import PreparationError, Target
from ringserve.signature import DEFAULT_SIGNATURE, Signature

ANSWER_SECONDS: Final = 60.0  # for one answer: the first one may be of a model that is cold

#: What requests are made of: nothing but a signature, or a file.
Payload = Synthetic | Path


def prepare(
    target: Target, payload: Payload | None = None, tolerance: float = TOLERANCE, seconds: float = ANSWER_SECONDS
) -> RequestSet:
    """`payload`: a file with JSON bodies (.json, or .jsonl with one a line), with arrays (.npz), or with logged requests
    (TFRecords of PredictionLogs); `tolerance`: of numbers in answers, relative to a tensor's largest; `seconds`: for one.

    Every request is sent once, alone: what it is answered is right from then on. Raises PreparationError, with the server's
    words, and ValueError for a URL of another form.
    """
    source = Synthetic() if payload is None else payload
    protocol = protocol_of(target)
    sent, rows = _messages(target, source, protocol, seconds)
    about = {**_about(target, source), **protocol.about(target), "tolerance": tolerance, "rows": rows}
    requests = tuple(Request(parts, protocol.ask(target, parts, seconds)) for parts in sent)
    return RequestSet(target.url, target.api, requests, about)


def _messages(target: Target, source: Payload, protocol: Protocol, seconds: float) -> tuple[list[tuple[bytes, ...]], int]:
    """The requests' parts, and how many rows each has; 0: nobody knows."""
    if target.api == "raw":
        if isinstance(source, Synthetic):
            raise PreparationError("a path of a server's own needs a file with the request's body")
        return [protocol.body(target, body) for body in bodies(source)], 0
    if isinstance(source, Path) and is_bodies(source) and protocol.takes_bodies(target):
        return [protocol.body(target, body) for body in bodies(source)], 0
    signature = signature_of(target, seconds)
    if isinstance(source, Synthetic):
        inputs = source.inputs(signature)
    else:
        inputs = _of_signature(file_inputs(source, signature), signature, source)
    if not inputs:
        raise PreparationError("there are no requests")
    return [protocol.request(target, each, signature) for each in inputs], _rows(inputs)


def _of_signature(found: Sequence[tuple[str, Inputs]], signature: Signature, path: Path) -> list[Inputs]:
    """A log may have requests of several signatures, a run has those of one. Raises PreparationError where there is none."""
    inputs = [each for name, each in found if not signature.name or (name or DEFAULT_SIGNATURE) == signature.name]
    if found and not inputs:
        names = ", ".join(sorted({name or DEFAULT_SIGNATURE for name, _ in found}))
        raise PreparationError(f"{path} has no requests of the signature {signature.name!r}, only of {names}")
    return inputs


def _rows(inputs: Sequence[Inputs]) -> int:
    found = {shape[0] if shape else 1 for each in inputs for _, shape, _ in each.values()}
    return found.pop() if len(found) == 1 else 0


def _about(target: Target, source: Payload) -> dict[str, Any]:
    fields = {
        "model": target.model,
        "version": target.version,
        "label": target.label,
        "signature": target.signature,
        "form": target.form if target.scheme == "http" and target.api != "raw" else "",
        "path": target.path,
        "payload": "signature" if isinstance(source, Synthetic) else source.name,
    }
    return {name: value for name, value in fields.items() if value not in ("", None)}
