"""The two console commands: exit codes, what goes to which stream, and the client commands over HTTP."""

import io
import json
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Collection, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve import __version__
from ringserve.cli import main, tensorflow_model_server
from ringserve.command_inputs import read_inputs
from ringserve.errors import Code, ServingError
from ringserve.flags import UsageError
from ringserve.options import ServerOptions
from ringserve.pretty_json import pretty

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = f"ringserve {__version__}\nTensorFlow Library: {version('tensorflow')}\n"

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


class Supervisor:
    """Stands in for the supervisor: keeps what it was started with, and ends as it is told to."""

    def __init__(self) -> None:
        self.started: list[tuple[ServerOptions, list[str]]] = []
        self.error: ServingError | None = None
        self.given: set[str] = set()

    def main(self, options: ServerOptions, notes: list[str], given: Collection[str]) -> int:
        self.started.append((options, notes))
        self.given = set(given)
        if self.error:
            raise self.error
        return 7


@pytest.fixture
def supervisor(monkeypatch: Patch) -> Supervisor:
    supervisor = Supervisor()
    module = types.ModuleType("manager.supervisor")
    module.__dict__["main"] = supervisor.main
    monkeypatch.setitem(sys.modules, "manager", types.ModuleType("manager"))
    monkeypatch.setitem(sys.modules, "manager.supervisor", module)
    return supervisor


def test_serve_hands_options_and_notes_to_the_supervisor(supervisor: Supervisor) -> None:
    assert main(["serve", "--model_base_path=/m", "--prefer_tflite_model", "--port=8500"]) == 7
    options, notes = supervisor.started[0]
    assert options.model_base_path == "/m"
    assert supervisor.given == {"model_base_path", "prefer_tflite_model", "port"}
    assert notes == [
        "--prefer_tflite_model is accepted, but has no effect yet",
    ]


def test_the_rest_port_is_on_for_serve_and_off_for_the_upstream_name(supervisor: Supervisor) -> None:
    main(["serve", "--model_base_path=/m"])
    tensorflow_model_server(["--model_base_path=/m"])
    assert [options.rest_api_port for options, _ in supervisor.started] == [8501, 0]


def test_the_container_entry_points_command_line(supervisor: Supervisor) -> None:
    words = ["--port=8500", "--rest_api_port=8501", "--model_name=m", "--model_base_path=/models/m"]
    assert tensorflow_model_server([*words, "--rest_api_port=9001"]) == 7
    assert supervisor.started[0][0].rest_api_port == 9001


def test_options_in_conflict_do_not_start(supervisor: Supervisor, capsys: Capture) -> None:
    assert main(["serve"]) == 255
    assert not supervisor.started
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "Failed to start server. Error: INVALID_ARGUMENT: "
        "Both server_options.model_base_path and server_options.model_config_file are empty!\n"
    )


def test_a_supervisor_that_cannot_start(supervisor: Supervisor, capsys: Capture) -> None:
    supervisor.error = ServingError(Code.NOT_FOUND, "no such file")
    assert tensorflow_model_server(["--model_base_path=/m"]) == 255
    assert capsys.readouterr().err == "Failed to start server. Error: NOT_FOUND: no such file\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["serve", "--prot=1"], "ringserve serve: unknown flag --prot (did you mean --port?)"),
        (
            ["serve", "--port=x"],
            "ringserve serve: Couldn't interpret value x for flag port. Expected an integer",
        ),
        (["bake"], "ringserve: unknown command bake"),
        ([], "ringserve: a command is missing"),
        (["--port=1"], "ringserve: --port=1 belongs after a command: ringserve serve --port=1"),
        (["predict", "m"], "ringserve predict: the following arguments are required: --input"),
        (["predict", "m", "--input", "[1"], "ringserve predict: --input is not JSON: [1"),
        (["status", "--bogus"], "ringserve status: unrecognized arguments: --bogus"),
        (["models", "load", "m", "--bogus"], "ringserve models: unrecognized arguments: --bogus"),
        (["models", "set-label", "m", "l"], "ringserve models set-label: no version is given"),
    ],
)
def test_misuse_is_two_lines_and_status_2(argv: list[str], text: str, capsys: Capture) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith(text)
    assert second == f"Try '{text.partition(':')[0]} --help'."


def test_help(capsys: Capture) -> None:
    for argv in (["--help"], ["-h"], ["serve", "--help"], ["predict", "--help"], ["status", "-h"], ["models", "-h"]):
        assert main(argv) == 0
        out, err = capsys.readouterr()
        assert out.startswith("usage: ringserve")
        assert err == ""
    assert tensorflow_model_server(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: tensorflow_model_server")


def test_version(supervisor: Supervisor, capsys: Capture) -> None:
    for status in (main(["--version"]), main(["serve", "--version"]), tensorflow_model_server(["--version"])):
        assert status == 0
    assert capsys.readouterr().out == VERSIONS * 3
    assert not supervisor.started


def test_start_up_imports_nothing_heavy() -> None:
    code = "import sys, ringserve.cli; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"numpy", "asyncio", "argparse", "http.client", "importlib.metadata", "manager", "tensorflow"}
    assert not heavy & set(run.stdout.split())


def test_python_dash_m() -> None:
    argv = [sys.executable, "-m", "ringserve", "--version"]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == VERSIONS


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the server's `answer` and keeps what it was asked."""

    server: "Server"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, body))
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, bytes]] = []
        self.answer = (200, b"{}")
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def status_answer(*versions: tuple[str, str, str, str]) -> bytes:
    entries = [
        {"version": number, "state": state, "status": {"error_code": code, "error_message": message}}
        for number, state, code, message in versions
    ]
    return json.dumps({"model_version_status": entries}).encode()


def test_predict_prints_the_answer(server: Server, capsys: Capture) -> None:
    server.answer = (200, '{"predictions":[[1.0,2.5],["é"]],"none":[]}'.encode())
    assert main(["predict", "half plus/two", "--input", "[1.0, 2]", "--url", server.url + "/"]) == 0
    assert server.asked == [("POST", "/v1/models/half%20plus%2Ftwo:predict", b'{"instances": [1.0, 2]}')]
    expected = '{\n  "predictions": [\n    [1.0, 2.5],\n    ["é"]\n  ],\n  "none": []\n}\n'
    assert capsys.readouterr().out == expected


def test_predict_asks_a_version_and_a_signature(server: Server) -> None:
    words = ["--input", "x=[1]", "--input", "y=2.0", "--version=3", "--signature", "sum", "--url", server.url]
    assert main(["predict", "m", *words]) == 0
    body = b'{"signature_name": "sum", "inputs": {"x": [1], "y": 2.0}}'
    assert server.asked == [("POST", "/v1/models/m/versions/3:predict", body)]


def test_predict_sends_a_whole_body_untouched(server: Server, tmp_path: Path, monkeypatch: Patch) -> None:
    body = b' {"instances": [NaN] }\n'
    (tmp_path / "request.json").write_bytes(body)
    assert main(["predict", "m", "--input", f"@{tmp_path}/request.json", "--url", server.url]) == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body)))
    assert main(["predict", "m", "--input", "-", "--url", server.url]) == 0
    assert [asked[2] for asked in server.asked] == [body, body]


@pytest.mark.parametrize(
    ("status", "payload", "text"),
    [
        (
            404,
            b'{"error": "Servable not found for request: Latest(m)"}',
            "Servable not found for request: Latest(m)",
        ),
        (404, b"<HTML>Not Found</HTML>", "HTTP 404 Not Found"),
        (500, b"", "HTTP 500 Internal Server Error"),
        (418, b"[]", "HTTP 418 I'm a Teapot"),
    ],
)
def test_an_error_answer(server: Server, capsys: Capture, status: int, payload: bytes, text: str) -> None:
    server.answer = (status, payload)
    for argv in (["predict", "m", "--input", "[1]"], ["status", "m"]):
        assert main([*argv, "--url", server.url]) == 1
        assert capsys.readouterr() == ("", text + "\n")


def test_a_body_refused_midway(capsys: Capture) -> None:
    answer = b'HTTP/1.1 413 Too Large\r\nContent-Length: 21\r\n\r\n{"error":"too large"}'

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.sendall(answer)
        connection.close()  # with unread bytes, so the client's sending is cut short

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        body = json.dumps(["x" * 20_000_000])
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert main(["predict", "m", "--input", body, "--url", url]) == 1
        thread.join()
    assert capsys.readouterr().err == "too large\n"


def test_nobody_listens(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert main(["status", "--url", f"http://127.0.0.1:{port}"]) == 1
    assert capsys.readouterr() == ("", f"cannot reach http://127.0.0.1:{port}: Connection refused\n")


def test_nobody_answers(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["status", "--url", url, "--timeout=0.05"]) == 1
    assert capsys.readouterr().err == f"no answer from {url} within 0.05 s\n"


@pytest.mark.parametrize("url", ["127.0.0.1:8501", "ftp://host", "http://", "http://host:port", "http://h/?x"])
def test_malformed_urls(url: str, capsys: Capture) -> None:
    assert main(["status", "--url", url]) == 1
    assert capsys.readouterr().err.startswith(f"not a server's URL: {url} (")


def test_models_asks_the_admin_socket(capsys: Capture, tmp_path: Path) -> None:
    path = f"{tmp_path}/none.sock"
    assert main(["models", "list", "--socket", path]) == 1
    assert capsys.readouterr() == ("", f"there is no admin socket {path}: is the server running?\n")


def test_help_names_every_command(capsys: Capture) -> None:
    main(["--help"])
    commands = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert {"serve", "predict", "status", "models"} <= commands


def test_status_table(server: Server, capsys: Capture) -> None:
    server.answer = (
        200,
        status_answer(("12", "AVAILABLE", "OK", ""), ("3", "END", "NOT_FOUND", "no\n graph")),
    )
    assert main(["status", "--url", server.url]) == 0
    assert server.asked == [("GET", "/v1/models/default", b"")]
    assert capsys.readouterr().out == (
        "VERSION  STATE      ERROR\n"
        "     12  AVAILABLE\n"
        "      3  END        NOT_FOUND: no graph\n"
    )  # fmt: skip


def test_status_fails_while_nothing_is_available(server: Server, capsys: Capture) -> None:
    server.answer = (200, status_answer(("1", "LOADING", "OK", "")))
    assert main(["status", "m", "--json", "--url", server.url]) == 1
    assert capsys.readouterr().out.encode() == server.answer[1] + b"\n"


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"model_version_status": [1]}', b"\xff"])
def test_status_of_something_else(server: Server, capsys: Capture, payload: bytes) -> None:
    server.answer = (200, payload)
    assert main(["status", "--url", server.url]) == 1
    assert capsys.readouterr() == ("", "the answer is not the status of a model\n")


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (["5"], "an --input without a name"),
        (['{"x": 1}'], "an --input without a name"),
        (["[1]", "[2]"], "more than one unnamed --input"),
        (["[1]", "x=[2]"], "either every --input has a name"),
        (["x=1", "x=2"], "--input x=... is given twice"),
        (["x=one"], "--input is not JSON: one"),
        (["@/no/such/file"], "cannot read /no/such/file: No such file or directory"),
        (["-", "x=1"], "--input is not JSON: -"),
    ],
)
def test_inputs_that_make_no_request(inputs: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_inputs(inputs)
    assert str(caught.value).startswith(text)


def test_a_whole_body_has_its_own_signature(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_bytes(b"{}")
    with pytest.raises(UsageError, match="signature_name"):
        read_inputs([f"@{tmp_path}/request.json"]).request("sum")


def test_an_equals_sign_inside_a_string_names_nothing() -> None:
    assert read_inputs(['["a=b"]']).request(None) == b'{"instances": ["a=b"]}'
    assert read_inputs(['x="a=b"']).request(None) == b'{"inputs": {"x": "a=b"}}'


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_json)
def test_pretty_text_is_the_same_json(value: object) -> None:
    assert json.loads(pretty(value)) == value


@given(st.lists(_json), st.text())
def test_instances_arrive_as_given(rows: list[object], signature: str) -> None:
    body = json.loads(read_inputs([json.dumps(rows)]).request(signature))
    assert body == {"signature_name": signature, "instances": rows}
