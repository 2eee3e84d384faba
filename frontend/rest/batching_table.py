"""The status page's part on batching: for each signature whether and why its requests are batched, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from ringserve.batching_text import batches_text, counts_text, limits_text, rows_text, spread_text

Entry = Mapping[str, Any]


def batching_parts(model: Entry) -> Iterator[str]:
    """`model`: what the supervisor explains of it (`manager/explanation.py`). Nothing where no version of it is loaded."""
    for version in model["versions"]:
        for device, trouble in version["troubles"].items():
            yield f"<p>Version {version['version']}: {escape(device)} does not tell how it batches: {escape(trouble)}</p>"
    rows = "".join(
        _row(version["version"], signature, device)
        for version in model["versions"]
        for signature in version["signatures"]
        for device in signature["devices"]
    )
    if rows:
        titles = "<th>signature</th><th>batching</th><th>batches</th><th>closed</th><th>waited</th>"
        yield f"<table><tr>{titles}</tr>{rows}</table>"


def _row(version: int, signature: Entry, device: Entry) -> str:
    cells = (
        f"<code>{escape(signature['signature'])}</code><br>version {version} on {escape(device['device'])}",
        "<br>".join(map(_form, device["forms"])),
        escape(batches_text(device)),
        escape(counts_text(device["closed"])),
        "<br>".join(_waits(signature, device)),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _form(form: Entry) -> str:
    whether = f"{form['mode']}, {limits_text(form)}" if form["batched"] else "not batched"
    return f"<code>{escape(rows_text(form['inputs']))}</code> {escape(whether)}: {escape(form['reason'])}"


def _waits(signature: Entry, device: Entry) -> Iterator[str]:
    if device["lingered"]:
        yield escape(f"oldest: {spread_text(device['lingered'])}")
    if signature["waited"]:  # on all devices
        yield escape(f"all: {spread_text(signature['waited'])}")
