"""The admin client: which server it asks, and what it makes of answers and of none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_server import ScriptedServer, scripted

from ringserve import admin_client
from ringserve.admin_client import AdminClient, find_server
from ringserve.errors import Code, ServingError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only one that is searched."""
    folder = tmp_path / "run"
    folder.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr("ringserve.admin_socket._TEMPORARY", str(tmp_path / "none"))
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[ScriptedServer]:
    with scripted(folder / "ringserve-8501.sock") as server:
        yield server


def refused(path: str, timeout: float = 5) -> ServingError:
    with pytest.raises(ServingError) as caught:
        AdminClient(path, timeout).call("list")
    return caught.value


def test_a_call(server: ScriptedServer) -> None:
    server.answer = {"result": {"models": ["é"]}}
    assert AdminClient(server.path, 5).call("status", model="m", version=None) == {"models": ["é"]}
    assert server.asked == [{"verb": "status", "timeout": 5, "model": "m"}]


def test_a_large_answer(server: ScriptedServer) -> None:
    server.answer = {"result": {"models": ["x" * 5_000_000]}}
    assert len(AdminClient(server.path, 5).call("list")["models"][0]) == 5_000_000


def test_the_servers_error(server: ScriptedServer) -> None:
    server.answer = {"error": {"code": "NOT_FOUND", "message": "no model"}}
    assert str(refused(server.path)) == "NOT_FOUND: no model"


@pytest.mark.parametrize(
    "answer", [b"{\n", b"[]\n", b"1\n", b"{}\n", b'{"result": 1}\n', b'{"error": {"code": "X", "message": ""}}\n', b"\xff\n"]
)
def test_an_answer_of_something_else(server: ScriptedServer, answer: bytes) -> None:
    server.answer = answer
    assert str(refused(server.path)) == f"INTERNAL: what answers at {server.path} is not an admin socket"


def test_a_server_that_ends_meanwhile(server: ScriptedServer) -> None:
    server.answer = b""
    assert str(refused(server.path)) == f"UNAVAILABLE: the server at {server.path} has ended before it answered"


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "s")
    assert str(refused(path)) == f"UNAVAILABLE: there is no admin socket {path}: is the server running?"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert str(refused(path)) == f"UNAVAILABLE: nobody answers at {path}: its server has ended"
        sock.listen()
        monkeypatch.setattr(admin_client, "_MARGIN_SECONDS", 0.0)
        assert str(refused(path, 0.05)) == f"DEADLINE_EXCEEDED: no answer from {path} within 0.05 s"


def test_a_path_too_long() -> None:
    with pytest.raises(ServingError) as caught:
        AdminClient("/" + "x" * 107, 5)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_another_users_server(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    class Closed(socket.socket):
        pass

    Closed.connect = connect  # type: ignore[method-assign]
    monkeypatch.setattr("ringserve.admin_client.socket.socket", Closed)
    error = refused(server.path)
    monkeypatch.undo()
    assert str(error) == f"PERMISSION_DENIED: {server.path} belongs to another user's server"


def test_the_only_server_is_found(server: ScriptedServer, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "ringserve-77.sock"))
    assert find_server() == server.path
    assert find_server(8501) == server.path
    with pytest.raises(ServingError) as caught:
        find_server(77)
    assert caught.value.message.startswith(f"no server with port 77 has an admin socket in {folder} or ")


def test_of_several_servers_one_has_to_be_named(server: ScriptedServer, folder: Path) -> None:
    with scripted(folder / "ringserve-8502.sock") as other:
        with pytest.raises(ServingError) as caught:
            find_server()
        assert caught.value.message == (
            f"several servers run: say which, with --socket or --port\n  {server.path}\n  {other.path}"
        )
        assert find_server(8502) == other.path


def test_no_server_at_all(folder: Path) -> None:
    with pytest.raises(ServingError) as caught:
        find_server()
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.message.startswith(f"no server has an admin socket in {folder}")
