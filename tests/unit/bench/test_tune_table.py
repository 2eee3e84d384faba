"""What `ringserve tune` prints: the front with its flags, and the files of parameters to use."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.tune.command import main
from bench.tune.front import Point
from bench.tune.setting import Setting
from bench.tune.tune_table import json_of, text_of
from bench.tune.tuning import Found

STATIC = Setting("static", max_batch_size=32, batch_timeout=1000)
FAST = Setting(frontends=2)


def found(*points: Point, limit: float = math.inf) -> Found:
    made = Found(limit)
    for point in points:
        made.trials.setdefault(point.setting, [[]])[0] = [*made.trials.get(point.setting, [[]])[0], point]
    return made


def point(setting: Setting, rate: float, p99: float, memory: float = 300.0, clients: int = 8) -> Point:
    return Point(setting, clients, rate, p99 / 2, p99, memory)


def test_the_front_stands_above_the_defaults_with_its_flags() -> None:
    text = text_of(found(point(Setting(), 900, 9.0), point(STATIC, 2000, 8.0), point(FAST, 1000, 2.0)), "http")
    heading, rule, first, second, default, empty, name, *parameters = text.splitlines()
    assert heading.split()[:2] == ["answers/s", "p50"]
    assert set(rule) <= {"-", " "}
    assert first.split() == [
        *("1", "2,000", "4.00", "8.00", "300", "8", "1"),
        "--enable_batching",
        "--batching_parameters_file=batching-1.config",
    ]
    assert second.split() == ["2", "1,000", "1.00", "2.00", "300", "8", "1", "--rest_frontends=2"]
    assert default.split() == ["-", "900", "4.50", "9.00", "300", "8", "1", "(the", "defaults)"]
    assert (empty, name) == ("", "batching-1.config:")
    assert "\n".join(parameters) + "\n" == STATIC.parameters


def test_saved_parameters_are_named_and_not_printed() -> None:
    text = text_of(found(point(STATIC, 2000, 8.0)), "http", Path("/saved"))
    assert "--batching_parameters_file=/saved/batching-1.config" in text
    assert "max_batch_size" not in text


def test_defaults_on_the_front_are_there_once() -> None:
    text = text_of(found(point(Setting(), 900, 1.0), point(FAST, 1000, 2.0)), "grpc")
    assert text.count("(the defaults)") == 1
    assert "--grpc_frontends=2" in text


def test_nothing_within_the_limit_is_said() -> None:
    nothing = found(point(Setting(), 900, 9.0), Point(FAST, 8, 0.0, math.inf, math.inf, 10.0, 3), limit=5.0)
    assert "no setting answered everything with the 99th percentile at most 5 ms" in text_of(nothing, "http")
    wire = json.loads(json.dumps(json_of(nothing, "http", None, {"model": "m"}), allow_nan=False))
    assert (wire["model"], wire["front"], wire["p99_below_ms"]) == ("m", [], 5.0)
    assert [entry["p99"] for entry in wire["points"]] == [9.0, None]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: MODEL"),
        (["/none"], "/none holds no version of a model"),
        (["MODEL", "--budget", "soon"], "soon is no time"),
        (["MODEL", "--budget", "0"], "0 is no time"),
        (["MODEL", "--clients", "4,0"], "4,0: only numbers above 0"),
        (["MODEL", "--p99_below", "-1"], "-1 is no number above 0"),
        (["MODEL", "--p99_below", "x"], "x is no number above 0"),
        (["MODEL", "--rows", "x"], "x is no whole number"),
        (["MODEL", "--shape", "x"], "argument --shape: "),
        (["MODEL", "--protocol", "shm"], "invalid choice: 'shm'"),
        (["MODEL", "--payload", "/none"], "there is no file /none"),
        (["MODEL", "--", "--rest_api_port=1"], "--rest_api_port is set by this command"),
        (["MODEL", "--", "--nothing"], "after --: unknown flag --nothing"),
    ],
)
def test_misuse_is_said_before_anything_starts(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1").mkdir()
    assert main([str(tmp_path) if word == "MODEL" else word for word in arguments]) == 2
    found = capsys.readouterr()
    assert reason in found.err
    assert found.out == ""
