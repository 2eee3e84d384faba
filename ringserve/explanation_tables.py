"""What `ringserve models explain` shows: whether and why a model's requests are batched, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ringserve.batching_text import batches_text, cost_text, counts_text, limits_text, rows_text, spread_text
from ringserve.models_tables import printable, table

Entry = Mapping[str, Any]

_TITLES: Final = ("DEVICE", "ROWS", "BATCHED", "LIMITS", "COST", "RUNNING", "WHY")


def explanation_text(explanation: Entry) -> str:
    """Each version, its signatures one below the other."""
    model = explanation["model"]
    blocks = [_version(model, version) for version in explanation["versions"]]
    return "\n\n".join(blocks) or printable(f"{model}: no version is loaded")


def _version(model: str, version: Entry) -> str:
    lines = [printable(f"{model} version {version['version']}")]
    lines += [printable(f"{device} does not tell: {trouble}") for device, trouble in version["troubles"].items()]
    for signature in version["signatures"]:
        lines += [printable(signature["signature"]), *(f"  {line}" for line in _signature(signature))]
    return "\n  ".join(lines)


def _signature(signature: Entry) -> Iterator[str]:
    rows = [_form(device["device"], form) for device in signature["devices"] for form in device["forms"]]
    if rows:
        yield from table([_TITLES, *rows], right=(_TITLES.index("RUNNING"),)).splitlines()
    for device in signature["devices"]:
        yield printable(f"{device['device']}: {batches_text(device)}")
        yield from (f"  {fact}" for fact in _facts(device))
    if signature["waited"]:
        yield f"requests waited: {spread_text(signature['waited'])}"
    if signature["rejected"]:
        yield printable(f"rejected: {counts_text(signature['rejected'])}")


def _form(device: str, form: Entry) -> tuple[str, ...]:
    batched = f"yes, {form['mode']}" if form["batched"] else "no"
    running = str(form["in_flight"] or "")
    return device, rows_text(form["inputs"]), batched, limits_text(form), cost_text(form), running, form["reason"]


def _facts(device: Entry) -> Iterator[str]:
    if device["closed"]:
        yield printable(f"closed: {counts_text(device['closed'])}")
    for name, text in (("lingered", "oldest request waited"), ("ran", "ran"), ("merged", "gathered and split")):
        if device[name]:
            yield f"{text}: {spread_text(device[name])}"
    if device["padding_rows"]:
        yield f"rows of padding: {device['padding_rows']}"
    if device["retried"]:
        yield f"failed, and run apart: {device['retried']}"
