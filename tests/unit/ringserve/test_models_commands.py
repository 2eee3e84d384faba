"""`ringserve models`: what each command asks, what it prints, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedServer, scripted

from ringserve.models_commands import run
from ringserve.models_tables import age, list_table, printable, size, status_text, table

Capture = pytest.CaptureFixture[str]

NOW = 1_700_000_000.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    with scripted(tmp_path / "s") as server:
        yield server


def version(number: int, state: str = "AVAILABLE", **facts: Any) -> dict[str, Any]:
    return {
        "version": number,
        "state": state,
        "error_code": "OK",
        "error_message": "",
        "since": NOW - 7200,
        "workers": {},
        "estimate_bytes": 0,
        "load_seconds": None,
        "warm_up": None,
        **facts,
    }


def model(name: str = "iris", *versions: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "platform": "tensorflow",
        "base_path": f"/models/{name}",
        "policy": "latest 1",
        "source": "",
        "devices": ["cpu:0", "cpu:1"],
        "labels": {},
        "shadows": [],
        "trouble": None,
        "versions": list(versions) or [version(2)],
        **facts,
    }


def status(*models: dict[str, Any]) -> dict[str, Any]:
    return {
        "models": list(models),
        "workers": [
            {"title": "worker cpu:0", "device": "cpu:0", "pid": 100, "state": "ready", "restarts": 2, "rss_bytes": 220 << 20}
        ],
        "frontends": [{"title": "frontend rest 0", "pid": 0, "state": "starting", "restarts": 0, "rss_bytes": None}],
        "memory": {"limit_bytes": 2 << 30, "reserved_bytes": 123 << 20},
    }


def ask(server: ScriptedServer, *words: str) -> int:
    return run([*words, "--socket", server.path])


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["list"], {"verb": "list"}),
        (["status", "m"], {"verb": "status", "model": "m"}),
        (["status"], {"verb": "status"}),
        (["explain", "m"], {"verb": "explain", "model": "m"}),
        (["load", "m", "--version=3"], {"verb": "load", "model": "m", "version": 3}),
        (
            ["load", "m", "--base-path", "/models/m", "--platform=lookup_table"],
            {"verb": "load", "model": "m", "base_path": "/models/m", "platform": "lookup_table"},
        ),
        (["load", "m", "--base-path=s3://b/m"], {"verb": "load", "model": "m", "base_path": "s3://b/m"}),
        (["load", "m", "--base-path=m"], {"verb": "load", "model": "m", "base_path": str(Path.cwd() / "m")}),
        (["unload", "m"], {"verb": "unload", "model": "m"}),
        (["unload", "m", "--version", "3"], {"verb": "unload", "model": "m", "version": 3}),
        (["reload"], {"verb": "reload"}),
        (["reload", "models.config"], {"verb": "reload", "file": str(Path.cwd() / "models.config")}),
        (["set-label", "m", "l", "3"], {"verb": "set_label", "model": "m", "label": "l", "versions": {"3": 1.0}}),
        (
            ["set-label", "m", "l", "1=95", "2=0.5"],
            {"verb": "set_label", "model": "m", "label": "l", "versions": {"1": 95.0, "2": 0.5}},
        ),
        (["set-label", "m", "l", "--remove"], {"verb": "remove_label", "model": "m", "label": "l"}),
        (["set-shadow", "m", "2", "0.1"], {"verb": "set_shadow", "model": "m", "version": 2, "rate": 0.1}),
    ],
)
def test_what_is_asked(server: ScriptedServer, words: list[str], asked: dict[str, Any]) -> None:
    entry = model("m")
    versions: dict[str, Any] = {"versions": []} if words[0] == "explain" else {}
    server.answer = {"result": {**status(entry), "model": entry, "outcomes": [], **versions}}
    assert ask(server, *words, "--timeout=2.5") == 0
    assert server.asked == [{**asked, "timeout": 2.5}]


def test_list(server: ScriptedServer, capsys: Capture) -> None:
    server.answer = {
        "result": {
            "models": [
                model(labels={"prod": [[1, 95.0], [2, 5.0]], "old": [[1, 1.0]]}),
                model("m", version(3, "LOADING"), version(1, "END"), trouble="it is\nslow"),
            ]
        }
    }
    assert ask(server, "list") == 0
    assert capsys.readouterr().out == (
        "MODEL  VERSIONS     LABELS                  POLICY    PATH          TROUBLE\n"
        "iris   2 AVAILABLE  old=1, prod=1:95%/2:5%  latest 1  /models/iris\n"
        "m      3 LOADING                            latest 1  /models/m     it is slow\n"
    )
    assert list_table([]) == "no models"


def test_status(server: ScriptedServer, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringserve.models_commands.time.time", lambda: NOW)
    counts = {"compared": 9, "differed": 1, "failed": 0, "dropped": 2}
    entry = model(
        "iris",
        version(3, "END", error_code="NOT_FOUND", error_message="no\ngraph", since=NOW - 5),
        version(
            2,
            workers={"cpu:1": "lost", "cpu:0": "holds"},
            estimate_bytes=3 << 20,
            load_seconds=0.254,
            warm_up={"source": "file", "requests": 12, "seconds": 0.5, "notes": ["1 skipped"]},
        ),
        labels={"prod": [[2, 1.0]]},
        shadows=[[3, 0.1, counts]],
    )
    server.answer = {"result": status(entry)}
    assert ask(server, "status", "iris") == 0
    assert capsys.readouterr().out == (
        "iris: tensorflow, /models/iris, policy latest 1, on cpu:0 cpu:1\n"
        "  label prod is 2\n"
        "  shadow 3 gets 10% of the requests: 9 compared, 1 differed, 0 failed, 2 dropped\n"
        "  VERSION  STATE      FOR   MEMORY  LOADED IN  WARM-UP             WORKERS      ERROR\n"
        "        3  END        5 s                                                       NOT_FOUND: no graph\n"
        "        2  AVAILABLE  2 h  3.0 MiB     0.25 s  file: 12 in 0.50 s  cpu:0 holds\n"
        "                                                                   cpu:1 lost\n"
        "  warm-up of 2: 1 skipped\n"
        "\n"
        "PROCESS          PID  STATE     RESTARTS   MEMORY\n"
        "worker cpu:0     100  ready            2  220 MiB\n"
        "frontend rest 0       starting         0\n"
        "\n"
        "memory reserved for models: 123 MiB of 2.0 GiB\n"
    )


@pytest.mark.parametrize(
    ("models", "code"),
    [([], 0), ([model()], 0), ([model(), model("m", version(1, "LOADING"))], 1), ([model("m", version(1, "END"))], 1)],
)
def test_status_fails_while_a_model_has_nothing_available(
    server: ScriptedServer, models: list[dict[str, Any]], code: int
) -> None:
    server.answer = {"result": status(*models)}
    assert ask(server, "status") == code


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["load", "m"], "m: 2 AVAILABLE; policy: latest 1"),
        (["unload", "m"], "m: unloaded"),
        (["unload", "m", "--version=1"], "m: 2 AVAILABLE; policy: latest 1"),
        (["set-label", "m", "prod", "1=95", "2=5"], "m: label prod is 1:95%/2:5%"),
        (["set-label", "m", "x", "--remove"], "m: no label x"),
        (
            ["set-shadow", "m", "3", "0.1"],
            "m: shadow 3 gets 10% of the requests: 0 compared, 0 differed, 0 failed, 0 dropped",
        ),
        (["set-shadow", "m", "4", "0"], "m: no shadow 4"),
    ],
)
def test_what_a_change_says(server: ScriptedServer, capsys: Capture, words: list[str], text: str) -> None:
    entry = model("m", labels={"prod": [[1, 95.0], [2, 5.0]]}, shadows=[[3, 0.1, {}]])
    server.answer = {"result": {"outcomes": [], "model": entry}}
    assert ask(server, *words) == 0
    assert capsys.readouterr() == (f"{text}\n", "")


def test_reload_fails_when_a_model_does(server: ScriptedServer, capsys: Capture) -> None:
    kept = {"model": "m", "change": "kept", "error": None}
    failed = {"model": "n", "change": "added", "error": {"code": "NOT_FOUND", "message": "no\ngraph"}}
    server.answer = {"result": {"outcomes": [kept]}}
    assert ask(server, "reload") == 0
    server.answer = {"result": {"outcomes": [kept, failed]}}
    assert ask(server, "reload") == 1
    assert capsys.readouterr().out == "m: kept\nm: kept\nn: added: NOT_FOUND: no graph\n"


def test_json_is_the_servers_answer(server: ScriptedServer, capsys: Capture) -> None:
    server.answer = {"result": {"models": [model(trouble="\ud800é")]}}
    assert ask(server, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == server.answer["result"]


def test_an_error_of_the_server(server: ScriptedServer, capsys: Capture) -> None:
    server.answer = {"error": {"code": "NOT_FOUND", "message": "no model \x1b[31m"}}
    assert ask(server, "status", "m") == 1
    assert capsys.readouterr() == ("", "no model \\x1b[31m\n")


def test_no_server(capsys: Capture, tmp_path: Path) -> None:
    assert run(["list", "--socket", f"{tmp_path}/s"]) == 1
    assert capsys.readouterr() == ("", f"there is no admin socket {tmp_path}/s: is the server running?\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "ringserve models: the following arguments are required: COMMAND"),
        (["explode"], "ringserve models: argument COMMAND: invalid choice: 'explode'"),
        (["load"], "ringserve models load: the following arguments are required: MODEL"),
        (["explain"], "ringserve models explain: the following arguments are required: MODEL"),
        (["load", "m", "--version=x"], "ringserve models load: argument --version: x is not the number of a version"),
        (["list", "--timeout=0"], "ringserve models list: argument --timeout: 0 is not a number of seconds"),
        (["list", "--socket=a", "--port=1"], "ringserve models list: argument --port: not allowed with argument --socket"),
        (["set-label", "m", "l"], "ringserve models set-label: no version is given"),
        (["set-label", "m", "l", "1", "2=3"], "ringserve models set-label: of several versions each needs a weight"),
        (["set-label", "m", "l", "1=1", "01=2"], "ringserve models set-label: a version is given twice"),
        (["set-label", "m", "l", "1=-1"], "ringserve models set-label: argument VERSION[=WEIGHT]: -1 is not a weight"),
        (["set-label", "m", "l", "1", "--remove"], "ringserve models set-label: --remove goes without versions"),
        (["set-shadow", "m", "1", "nan"], "ringserve models set-shadow: argument RATE: nan is not a number from 0 to 1"),
    ],
)
def test_misuse_is_two_lines_and_status_2(words: list[str], text: str, capsys: Capture) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith(text)
    assert second == f"Try '{text.partition(':')[0]} --help'."


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (7300, "2 h"), (3e5, "3 d")])
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (3 << 40, "3072 GiB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text


@given(st.text())
def test_nothing_steers_the_terminal(text: str) -> None:
    assert printable(text).isprintable()


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=5))
def test_a_table_has_a_line_for_each_row(rows: list[tuple[str, str]]) -> None:
    assert table([("FIRST", "SECOND"), *rows]).count("\n") == len(rows)


def test_a_model_of_the_past() -> None:
    gone = model("m", version(1, "END"), platform="", base_path="", policy="", devices=[], trouble="not configured any more")
    assert status_text(status(gone), NOW).startswith("m\n  trouble: not configured any more\n  VERSION  STATE  FOR\n")


def test_a_server_with_nothing() -> None:
    nothing = {"models": [], "workers": [], "frontends": [], "memory": {"limit_bytes": 0, "reserved_bytes": 0}}
    assert status_text(nothing, NOW) == "no models\n\nno processes\n\nmemory reserved for models: 0 B, without a limit"
