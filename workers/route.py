"""What a lane carries, and what is said of it, as control messages tell it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ringserve.channel import Message
from ringserve.servable import ServableId
from shm.layout import Column
from workers.engine import Form, Inputs
from workers.probe import Report


class Route(NamedTuple):
    """Requests to one signature, with rows of these inputs (None: as the signature declares)."""

    servable: ServableId
    signature: str
    inputs: Inputs | None

    @classmethod
    def from_wire(cls, message: Message) -> Route:
        wire = message["inputs"]
        return cls(ServableId(*message["servable"]), message["signature"], None if wire is None else _columns(wire))


def form_from_wire(columns: Any) -> Form | None:
    return Form(_columns(columns[0]), _columns(columns[1])) if columns else None


def report_to_wire(report: Report) -> Message:
    form = report.form
    columns = None
    if form:
        columns = [[[n, c.dtype, list(c.shape)] for n, c in group] for group in (form.inputs, form.outputs)]
    return {"columns": columns, "batched": report.batched, "reason": report.reason, "most_rows": report.most_rows}


def _columns(wire: Any) -> Inputs:
    return tuple((number, Column(dtype, tuple(shape))) for number, dtype, shape in wire)
