"""`ringserve bench`: what its command lines mean, and which make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.harness import command
from bench.harness.load_arguments import check, load_parser
from bench.harness.outcome import Event, Generator, Outcome, Window
from bench.harness.outcome_table import outcome_table
from bench.harness.plan import Closed, Open, Plan
from ringserve.cli import main

Capture = pytest.CaptureFixture[str]


def parsed(text: str) -> dict[str, object]:
    parser = load_parser()
    arguments = parser.parse_args(["--model", "m", *text.split()])
    check(parser, arguments)
    return vars(arguments)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("", "clients", None),
        ("-c 1,8", "clients", [1, 8]),
        ("--concurrency 1:3", "clients", [1, 2, 3]),
        ("-R 100:200:50", "rate", [100, 150, 200]),
        ("-d 500ms", "duration", 0.5),
        ("-d 2m", "duration", 120),
        ("-d 1.5", "duration", 1.5),
        ("--warmup 0", "warmup", 0),
        ("--stable", "stable", 0.1),
        ("--stable 5%", "stable", 0.05),
        ("--precision 10", "precision", 0.1),
        ("--header X-A:b", "header", [("X-A", "b")]),
        ("--shape x:2,3", "shape", [("x", (2, 3))]),
    ],
)
def test_values(text: str, name: str, value: object) -> None:
    assert parsed(text)[name] == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("--clients 0", "--clients"),
        ("--clients 1.5", "only whole numbers"),
        ("--rate x", "--rate"),
        ("--clients 1 --rate 5", "either --clients or --rate"),
        ("--p99_below 5 --clients 2", "not with --clients"),
        ("--p99_below 5 --rate 1,2", "begins at one --rate"),
        ("--duration 0", "--duration is 0"),
        ("--duration 5x", "is no time"),
        ("--window 0", "0 is less than 10ms"),
        ("--window 0.0000000001", "is less than 10ms"),
        ("--p99_below 5 --rate 10 --duration 5", "takes 100 requests or more"),
        ("--p99_below 5 --duration 500ms", "takes 100 requests or more"),
        ("--p99_below 5 --stable", "not with --p99_below"),
        ("--kill_worker_at 20 --duration 10", "before the --duration is over"),
        ("--switch_version_at 10 --switch_to 2 --duration 10", "before the --duration is over"),
        ("--metrics_url localhost:8501", "begins with http"),
        ("--timeout 0", "is no time above 0"),
        ("--stable --duration 2", "at least --stable_windows windows"),
        ("--stable --kill_worker_at 1", "not with chaos"),
        ("--stable 0", "percentage"),
        ("--kill_pid 5", "goes with --kill_worker_at"),
        ("--switch_version_at 1", "needs either"),
        ("--switch_to 2", "go with --switch_version_at"),
        ("--switch_version_at 1 --switch_to 2 --clients 1,2", "not with several runs"),
        ("--slow_clients 3 --url grpc://localhost:8500", "HTTP only"),
        ("--version 1 --label a", "not allowed with"),
        ("--api raw", "--path and --payload"),
        ("--path /x", "goes with --api raw"),
        ("--payload /no/such/file", "there is no file"),
        ("--html /", "can't be written"),
        ("--json_lines /dev/null/file", "can't be written"),
        ("--header x", "is no header"),
        ("--nonsense", "--nonsense"),
        ("--shape x", "--shape"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, complaint: str, capsys: Capture) -> None:
    assert main(["bench", "load", "--model", "m", *text.split()]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.endswith("Try 'ringserve bench load --help'.\n")


def test_a_model_is_needed(capsys: Capture) -> None:
    assert main(["bench", "load"]) == 2
    assert "--model is missing" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["load", "--help"], ["self-test", "--help"], ["compare", "--help"]])
def test_help(words: list[str], capsys: Capture) -> None:
    assert main(["bench", *words]) == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: ringserve bench", *words[:-1]]))


@pytest.mark.parametrize("words", [[], ["sing"]])
def test_other_commands_are_refused(words: list[str], capsys: Capture) -> None:
    assert main(["bench", *words]) == 2
    assert "load, self-test, compare, topologies" in capsys.readouterr().err


def test_topologies_are_those_of_the_module(capsys: Capture) -> None:
    assert main(["bench", "topologies", "no-such"]) == 2
    assert "no topology no-such" in capsys.readouterr().err


def test_every_command_is_in_the_help(capsys: Capture) -> None:
    main(["bench", "--help"])
    shown = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert set(command._COMMANDS) <= shown


def test_a_folder_that_will_be_made_can_be_written(tmp_path: Path) -> None:
    assert parsed(f"--html {tmp_path}/new/deep/page.html")["html"] == tmp_path / "new/deep/page.html"


def test_the_table_has_a_line_for_each_run_and_says_what_happened() -> None:
    window = Window(100, {"503": 2})
    window.latencies.record([2_000_000] * 100)
    about = {"url": "http://h:1", "model": "m"}
    first = Outcome(about, Plan(Closed(4), 2).to_wire(), "", 2.0, [window], [Generator(0.95, 0.0)])
    first.events.append(Event(1.25, "worker cpu:0 killed"))
    second = Outcome(about, Plan(Open(10), 2).to_wire(), "", 2.0, [Window()], [Generator(0.1, 0.0), Generator(0.2, 0.0)])
    lines = outcome_table([first, second]).splitlines()
    assert lines[2].split() == ["4", "clients", "50.0", *["2.00"] * 5, "2", "0.95"]
    assert lines[3].split() == ["10", "requests/s,", "poisson", "0.000", *["-"] * 5, "0", "0.10,", "0.20"]
    assert "4 clients: errors: 503: 2" in lines
    assert "4 clients: at 1.25 s: worker cpu:0 killed" in lines
    assert any("A generator was busy" in line for line in lines)
