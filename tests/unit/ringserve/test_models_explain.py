"""`ringserve models explain`: what it prints of a server's answer, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedServer, scripted

from ringserve.batching_text import batches_text, cost_text, duration_text, limits_text, rows_text, spread_text
from ringserve.explanation_tables import explanation_text
from ringserve.models_commands import run

Capture = pytest.CaptureFixture[str]

WAITED = {"count": 9, "mean_us": 12.3, "p50_us": 9.9, "p99_us": 1250.0}


def form(**facts: Any) -> dict[str, Any]:
    return {
        "inputs": None,
        "batched": True,
        "reason": "rows gave the same answers",
        "mode": "adaptive",
        "max_rows": 32,
        "allowed": [],
        "timeout_us": 2000,
        "fixed_us": 12.0,
        "row_us": 0.4,
        "in_flight": 0,
        **facts,
    }


def device(name: str = "cpu:0", *forms: dict[str, Any], **counted: Any) -> dict[str, Any]:
    nothing = {"batches": 0, "rows": 0, "sizes": {}, "closed": {}, "padding_rows": 0, "retried": 0}
    times = {"lingered": None, "ran": None, "merged": None}
    return {"device": name, "forms": list(forms), **nothing, **times, **counted}


def signature(*devices: dict[str, Any], name: str = "serving_default", **counted: Any) -> dict[str, Any]:
    return {"signature": name, "waited": None, "rejected": {}, "devices": list(devices), **counted}


def version(number: int, *signatures: dict[str, Any], **troubles: str) -> dict[str, Any]:
    return {"version": number, "troubles": troubles, "signatures": list(signatures)}


BUSY = device(
    "cpu:0",
    form(in_flight=1),
    form(inputs=[[2, "<f8", [4]], [9, "<i8", []]], batched=False, reason="a row's answer\ndiffers", row_us=0.0),
    batches=169,
    rows=312,
    sizes={"1": 120, "2-3": 40, "4-7": 9},
    closed={"idle": 160, "full": 9},
    lingered=WAITED,
    ran={"count": 1, "mean_us": 2_500_000.0, "p50_us": 0.25, "p99_us": 30.0},
    merged=WAITED,
    padding_rows=7,
    retried=2,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    with scripted(tmp_path / "s") as server:
        yield server


def ask(server: ScriptedServer, *words: str) -> int:
    return run(["explain", "iris", *words, "--socket", server.path])


def test_what_it_prints(server: ScriptedServer, capsys: Capture) -> None:
    default = signature(BUSY, device("cpu:1", form()), waited=WAITED, rejected={"queue_full": 3})
    other = signature(device("cpu:0"), name="other")
    server.answer = {"result": {"model": "iris", "versions": [version(2, default, other), version(1)]}}
    assert ask(server) == 0
    assert capsys.readouterr().out == (
        "iris version 2\n"
        "  serving_default\n"
        "    DEVICE  ROWS             BATCHED        LIMITS                               COST                  RUNNING  "
        "WHY\n"
        "    cpu:0   as declared      yes, adaptive  at most 32 rows, waits at most 2 ms  12 us + 0.4 us a row        1  "
        "rows gave the same answers\n"
        "    cpu:0   double[4] int64  no                                                  12 us for one row              "
        "a row's answer differs\n"
        "    cpu:1   as declared      yes, adaptive  at most 32 rows, waits at most 2 ms  12 us + 0.4 us a row           "
        "rows gave the same answers\n"
        "    cpu:0: 169 batches of 312 rows (1: 120, 2-3: 40, 4-7: 9)\n"
        "      closed: idle 160, full 9\n"
        "      oldest request waited: mean 12.3 us, p50 9.9 us, p99 1.25 ms\n"
        "      ran: mean 2.5 s, p50 0.25 us, p99 30 us\n"
        "      gathered and split: mean 12.3 us, p50 9.9 us, p99 1.25 ms\n"
        "      rows of padding: 7\n"
        "      failed, and run apart: 2\n"
        "    cpu:1: no batches\n"
        "    requests waited: mean 12.3 us, p50 9.9 us, p99 1.25 ms\n"
        "    rejected: queue_full 3\n"
        "  other\n"
        "    cpu:0: no batches\n"
        "\n"
        "iris version 1\n"
    )


def test_a_worker_that_does_not_tell_ends_it_with_1(server: ScriptedServer, capsys: Capture) -> None:
    trouble = "worker cpu:0 did not answer\nwithin 5 s"
    server.answer = {"result": {"model": "iris", "versions": [version(2, **{"cpu:0": trouble})]}}
    assert ask(server) == 1
    assert capsys.readouterr().out == "iris version 2\n  cpu:0 does not tell: worker cpu:0 did not answer within 5 s\n"


def test_a_model_without_versions(server: ScriptedServer, capsys: Capture) -> None:
    server.answer = {"result": {"model": "iris", "versions": []}}
    assert ask(server) == 0
    assert capsys.readouterr().out == "iris: no version is loaded\n"


def test_json_is_the_servers_answer(server: ScriptedServer, capsys: Capture) -> None:
    server.answer = {"result": {"model": "iris", "versions": [version(2, signature(BUSY))]}}
    assert ask(server, "--json") == 0
    assert json.loads(capsys.readouterr().out) == server.answer["result"]


@given(st.text(), st.text())
def test_nothing_steers_the_terminal(name: str, reason: str) -> None:
    text = explanation_text(
        {
            "model": name,
            "versions": [version(1, signature(device(name, form(reason=reason, mode=name)), name=name), a=reason)],
        }
    )
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("\n") == 5


def test_rows_and_limits() -> None:
    assert rows_text([[1, "<f4", [224, 224, 3]]]) == "float[224,224,3]"
    assert rows_text([]) == ""
    limits = limits_text(form(mode="static", max_rows=16, allowed=[4, 8, 16], timeout_us=0))
    assert limits == "at most 16 rows, in sizes 4 8 16, waits at most 0 us"
    assert limits_text(form(max_rows=1)) == "at most 1 row, waits at most 2 ms"
    assert cost_text(form(fixed_us=0.0, row_us=0.0)) == ""
    assert batches_text(device(batches=1, rows=1, sizes={"1": 1})) == "1 batch of 1 row (1: 1)"
    assert spread_text({"mean_us": 0, "p50_us": 0, "p99_us": 1e9}) == "mean 0 us, p50 0 us, p99 1000 s"


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0 us"), (0.25, "0.25 us"), (99.94, "99.9 us"), (123.4, "123 us"), (1000, "1 ms"), (1.5e6, "1.5 s")],
)
def test_durations(microseconds: float, text: str) -> None:
    assert duration_text(microseconds) == text
