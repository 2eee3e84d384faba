"""What a worker says of its batching: whether and why, within which limits, of which forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ringserve.batching_parameters import BatchingParameters
from ringserve.channel import Message
from ringserve.options import ServerOptions
from shm.layout import Column
from workers.engine import Form, Inputs
from workers.explanation import Reports, explained, merged, wire_inputs
from workers.probe import Report

FLOATS: Inputs = ((1, Column("<f4", (3,))),)
DOUBLES: Inputs = ((2, Column("<f8", ())), (9, Column("<i8", (2, 2))))
JOINED = Report(Form(FLOATS, FLOATS), True, "the same answers", True, 12e-6, 32)
APART = Report(Form(DOUBLES, FLOATS), False, "a row's answer differs", False, 15e-6)

ADAPTIVE = ServerOptions(max_linger_micros=1500)
STATIC = ServerOptions(enable_batching=True)
OFF = ServerOptions(batching="off")


def entries(
    reports: Reports, options: ServerOptions = ADAPTIVE, parameters: BatchingParameters | None = None, names: Any = ("s",)
) -> list[Message]:
    found = explained(names, reports, options, parameters)
    assert json.loads(json.dumps(found)) == found, "plain values only"
    return found


def test_adaptive_batching_goes_by_what_the_probe_found() -> None:
    first, second = entries({("s", None): JOINED, ("s", DOUBLES): APART})
    assert first == {
        "signature": "s",
        "inputs": None,
        "batched": True,
        "reason": "the same answers",
        "mode": "adaptive",
        "max_rows": 32,
        "allowed": [],
        "timeout_us": 1500,
        "fixed_us": pytest.approx(12),
        "row_us": 0.0,
        "in_flight": 0,
    }
    assert second == {
        "signature": "s",
        "inputs": [[2, "<f8", []], [9, "<i8", [2, 2]]],
        "batched": False,
        "reason": "a row's answer differs",
        "mode": "adaptive",
        "max_rows": 1,
        "allowed": [],
        "timeout_us": 0,
        "fixed_us": pytest.approx(15),
        "row_us": 0.0,
        "in_flight": 0,
    }


def test_the_declared_form_is_told_once() -> None:
    """It is known by its inputs as well."""
    (found,) = entries({("s", FLOATS): JOINED, ("s", None): JOINED})
    assert found["inputs"] is None
    assert len(entries({("s", FLOATS): JOINED, ("s", None): APART})) == 2


def test_signatures_that_nobody_asked_are_told_too() -> None:
    found = entries({("t", FLOATS): JOINED}, names=("s", "t"))
    assert [(entry["signature"], entry["inputs"], entry["batched"]) for entry in found] == [
        ("s", None, False),
        ("t", None, False),
        ("t", wire_inputs(FLOATS), True),
    ]
    assert found[0]["reason"] == "no request has come yet"
    assert (found[0]["fixed_us"], found[0]["max_rows"]) == (0, 1)


def test_static_batching_goes_by_the_parameters() -> None:
    parameters = BatchingParameters(max_batch_size=16, batch_timeout_micros=700, allowed_batch_sizes=(4, 16))
    for report in (JOINED, APART):
        (found,) = entries({("s", None): report}, STATIC, parameters)
        told = [found[name] for name in ("batched", "mode", "max_rows", "allowed", "timeout_us")]
        assert told == [True, "static", 16, [4, 16], 700]
        assert "parameters" in found["reason"]
    split = BatchingParameters(max_batch_size=16, enable_large_batch_splitting=True, max_execution_batch_size=8)
    assert entries({("s", None): JOINED}, STATIC, split)[0]["max_rows"] == 8


@pytest.mark.parametrize(
    ("options", "reason"),
    [(OFF, "batching is switched off"), (STATIC, "the version has no batching parameters of its own")],
)
def test_what_is_not_batched_whatever_the_probe_found(options: ServerOptions, reason: str) -> None:
    (found,) = entries({("s", None): JOINED}, options)
    told = [found[name] for name in ("batched", "mode", "max_rows", "timeout_us", "reason")]
    assert told == [False, "off", 1, 0, reason]


def test_what_queues_know_goes_over_what_the_load_found() -> None:
    known = entries({("s", None): JOINED, ("s", DOUBLES): APART})
    live: list[Message] = [
        {"signature": "s", "inputs": wire_inputs(DOUBLES), "row_us": 0.5, "in_flight": 2},
        {"signature": "s", "inputs": wire_inputs(FLOATS), "batched": True},
    ]
    assert merged(known, live) == [known[0], {**known[1], "row_us": 0.5, "in_flight": 2}, live[1]]
    assert merged(known, []) == known
