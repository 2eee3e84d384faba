"""Whether and why requests are batched, and within which limits: what a worker says of itself to people.

A form's entry is a dict: "signature"; "inputs", the columns of its rows as in control messages, None for rows as the
signature declares them; "batched", and "reason", why or why not; "mode", one of `ringserve.options.BATCHING_MODES`;
"max_rows" of a batch; "allowed" sizes of one, where there are some; "timeout_us", the longest that a request waits for
others; "fixed_us" and "row_us", what a batch costs and each of its rows more, the latter 0 where only one row alone was
timed; "in_flight", batches that run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ringserve.batching_parameters import BatchingParameters
from ringserve.channel import Message
from ringserve.options import ServerOptions
from workers.engine import Inputs
from workers.probe import Report
from workers.queue_limits import limits_of

Reports = Mapping[tuple[str, Inputs | None], Report]

_NOT_SEEN: Final = Report(None, False, "no request has come yet")
_SWITCHED_OFF: Final = "batching is switched off"
_NO_PARAMETERS: Final = "the version has no batching parameters of its own"
_BY_PARAMETERS: Final = "batching is enabled, with these parameters"


def explained(
    signatures: Sequence[str], reports: Reports, options: ServerOptions, parameters: BatchingParameters | None
) -> list[Message]:
    """An entry for each form of each of a version's signatures, those as declared first; of signatures that nobody has
    asked yet too. `parameters`: the version's, None where it has none.
    """
    declared = {name: reports.get((name, None)) for name in signatures}
    found = [_entry(name, None, report or _NOT_SEEN, options, parameters) for name, report in declared.items()]
    return found + [
        _entry(name, inputs, report, options, parameters)
        for (name, inputs), report in reports.items()
        if inputs is not None and report is not declared.get(name)
    ]


def merged(known: Sequence[Message], live: Sequence[Message]) -> list[Message]:
    """What was known at load, overridden by what the queues that there are know: dicts with the "signature" and "inputs" of
    a form, and whatever else is better known now.
    """
    entries = {_key(entry): entry for entry in known}
    for entry in live:
        entries[_key(entry)] = {**entries.get(_key(entry), {}), **entry}
    return list(entries.values())


def wire_inputs(inputs: Inputs | None) -> list[Any] | None:
    """As in the messages that ask for a form."""
    return None if inputs is None else [[number, column.dtype, list(column.shape)] for number, column in inputs]


def _key(entry: Message) -> tuple[str, str]:
    return entry["signature"], repr(entry["inputs"])


def _entry(
    signature: str,
    inputs: Inputs | None,
    report: Report,
    options: ServerOptions,
    parameters: BatchingParameters | None,
) -> Message:
    cost = {"fixed_us": max(report.seconds - report.each, 0.0) * 1e6, "row_us": report.each * 1e6, "in_flight": 0}
    return {"signature": signature, "inputs": wire_inputs(inputs), **_limits(report, options, parameters), **cost}


def _limits(report: Report, options: ServerOptions, parameters: BatchingParameters | None) -> Message:
    mode, limits = options.batching_mode, limits_of(report, parameters, options)
    reason = report.reason
    if parameters is not None:
        reason = _BY_PARAMETERS if limits.joins else report.reason
    elif mode != "adaptive":
        reason, mode = {"static": _NO_PARAMETERS, "off": _SWITCHED_OFF}[mode], "off"
    return {
        "batched": limits.joins,
        "reason": reason,
        "mode": mode,
        "max_rows": limits.most_rows,
        "allowed": list(limits.sizes),
        "timeout_us": (limits.timeout or limits.linger) // 1000,
    }
