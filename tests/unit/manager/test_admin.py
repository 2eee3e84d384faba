"""The admin socket itself: who may use it, lines in and out, and its file."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from fake_administered import FakeAdministered

from manager import admin
from manager.admin import AdminServer, open_admin
from manager.admin_listener import listen
from ringserve.errors import Code, ServingError

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Runs a coroutine to its end, 20 seconds at most, on each kind of loop."""

    def played(script: Awaitable[None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await script

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(limited())

    return played


Play = Callable[[Awaitable[None]], None]


@asynccontextmanager
async def serving(path: Path, **settings: Any) -> AsyncIterator[FakeAdministered]:
    administered = FakeAdministered()
    administered.add("m", 1, 2)
    server = AdminServer(str(path), administered, **settings)
    await server.start()
    try:
        yield administered
    finally:
        await server.close()


async def ask(streams: Streams, request: bytes) -> Any:
    streams[1].write(request)
    return await answer(streams)


async def answer(streams: Streams) -> Any:
    line = await streams[0].readline()
    assert line.endswith(b"\n")
    return json.loads(line)


def refusal(said: Any) -> str:
    return f"{said['error']['code']}: {said['error']['message']}"


def test_requests_of_one_connection_are_answered_in_order(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s") as administered:
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            streams[1].write(b'{"verb": "list"}\n{"verb": "status", "model": "x"}\n\n{"verb": "status"}\r\n')
            assert (await answer(streams))["result"]["models"][0]["name"] == "m"
            assert refusal(await answer(streams)) == "NOT_FOUND: no model x is configured"
            assert refusal(await answer(streams)).startswith("INVALID_ARGUMENT: the request is not JSON")
            assert (await answer(streams))["result"] == administered.describe()
            streams[1].write_eof()
            assert await streams[0].read() == b""
            streams[1].close()

    play(script())


def test_a_request_may_come_byte_by_byte(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s"):
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            for byte in b'{"verb": "list"}\n':
                streams[1].write(bytes([byte]))
                await streams[1].drain()
                await asyncio.sleep(0)
            assert "result" in await answer(streams)
            streams[1].close()

    play(script())


def test_one_that_waits_holds_up_no_other(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s") as administered:
            first = await asyncio.open_unix_connection(tmp_path / "s")
            second = await asyncio.open_unix_connection(tmp_path / "s")
            administered.gate.clear()
            first[1].write(b'{"verb": "set_label", "model": "m", "label": "a", "versions": {"2": 1}}\n')
            while not administered.reloads:
                await asyncio.sleep(0)
            assert (await ask(second, b'{"verb": "list"}\n'))["result"]["models"][0]["labels"] == {"a": [[2, 1.0]]}
            administered.gate.set()
            assert (await answer(first))["result"]["outcomes"][0]["change"] == "changed"
            first[1].close()
            second[1].close()

    play(script())


def test_a_request_too_long(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s"):
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            streams[1].write(b"x" * (2 << 20))
            assert refusal(await answer(streams)) == "INVALID_ARGUMENT: the request is longer than 1048576 bytes"
            streams[1].close()

    play(script())


def test_a_request_just_short_enough(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s"):
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            line = b'{"verb": "list"}'
            assert "result" in await ask(streams, line + b" " * ((1 << 20) - len(line)) + b"\n")
            streams[1].close()

    play(script())


def test_a_request_without_an_end(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s"):
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            streams[1].write(b'{"verb": "list"}')
            streams[1].write_eof()
            assert refusal(await answer(streams)) == "INVALID_ARGUMENT: the request has no end of line"
            streams[1].close()

    play(script())


def test_a_connection_that_says_nothing_is_closed(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s", idle_seconds=0.05):
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            streams[1].write(b'{"verb"')
            assert refusal(await answer(streams)) == "DEADLINE_EXCEEDED: no request has come within 0.05 s"
            assert await streams[0].read() == b""
            streams[1].close()

    play(script())


def test_one_that_takes_no_answers_is_cut(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_SEND_SECONDS", 0.05)

    async def script() -> None:
        async with serving(tmp_path / "s"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "s"))
                sock.setblocking(False)
                sock.send(b'{"verb": "status"}\n' * 1000)
                while len(asyncio.all_tasks()) < 2:
                    await asyncio.sleep(0.01)
                while len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.01)

    play(script())


def test_clients_that_leave_leave_nothing(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s") as administered:
            before = len(os.listdir("/proc/self/fd"))
            administered.gate.clear()
            for request in (b"", b"{", b'{"verb": "status"}\n', b'{"verb": "unload", "model": "m"}\n'):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(tmp_path / "s"))
                    sock.sendall(request)
            while not administered.reloads:
                await asyncio.sleep(0.01)
            administered.gate.set()
            while len(asyncio.all_tasks()) > 1 or len(os.listdir("/proc/self/fd")) > before:
                await asyncio.sleep(0.01)

    play(script())


def test_too_many_connections(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_MOST_CONNECTIONS", 2)

    async def script() -> None:
        async with serving(tmp_path / "s"):
            open_ones = [await asyncio.open_unix_connection(tmp_path / "s") for _ in range(2)]
            for streams in open_ones:
                assert "result" in await ask(streams, b'{"verb": "list"}\n')
            third = await asyncio.open_unix_connection(tmp_path / "s")
            assert refusal(await answer(third)) == "RESOURCE_EXHAUSTED: there are 2 connections to the admin socket already"
            for streams in (*open_ones, third):
                streams[1].close()

    play(script())


def test_another_user_is_refused(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s") as administered:
            monkeypatch.setattr(admin, "_CREDENTIALS", Stranger)
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            said = await ask(streams, b'{"verb": "unload", "model": "m"}\n')
            assert refusal(said) == "PERMISSION_DENIED: user 4711 may not use the admin socket"
            assert not administered.reloads
            streams[1].close()

    play(script())


class Stranger:
    """What the kernel tells of a client that another user has started."""

    size = 12

    @staticmethod
    def unpack(credentials: bytes) -> tuple[int, int, int]:
        assert len(credentials) == Stranger.size
        return 1, 4711, 4711


def test_a_fault_of_ours_is_an_answer(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s") as administered:
            monkeypatch.setattr(administered, "describe", lambda: 1 / 0)
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            text = "INTERNAL: the server failed at this request: ZeroDivisionError: division by zero"
            for _ in range(2):
                assert refusal(await ask(streams, b'{"verb": "list"}\n')) == text
            streams[1].close()

    play(script())
    assert caplog.records[0].exc_info


def test_the_end_cuts_connections_and_removes_the_file(play: Play, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s") as administered:
            idle = await asyncio.open_unix_connection(tmp_path / "s")
            busy = await asyncio.open_unix_connection(tmp_path / "s")
            administered.gate.clear()
            busy[1].write(b'{"verb": "unload", "model": "m"}\n')
            while not administered.reloads:
                await asyncio.sleep(0)
        for streams in (idle, busy):
            assert await streams[0].read() == b""
            streams[1].close()
        assert not (tmp_path / "s").exists()
        assert len(asyncio.all_tasks()) == 1

    play(script())
    assert not caplog.records


def test_only_its_owner_may_open_the_file(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s"):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600

    play(script())


def test_a_second_server_is_refused_and_harms_nothing(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        path = tmp_path / "s"
        async with serving(path):
            with pytest.raises(ServingError) as caught:
                await AdminServer(str(path), FakeAdministered()).start()
            assert str(caught.value) == f"ALREADY_EXISTS: another server has its admin socket at {path}"
            streams = await asyncio.open_unix_connection(path)
            assert "result" in await ask(streams, b'{"verb": "list"}\n')
            streams[1].close()

    play(script())


def test_of_servers_that_start_at_once_one_gets_the_path(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        (await listen(str(tmp_path / "s"))).sock.close()  # a dead one to begin with
        tries = await asyncio.gather(*(listen(str(tmp_path / "s")) for _ in range(8)), return_exceptions=True)
        for listener in tries:
            if not isinstance(listener, BaseException):
                listener.sock.close()
        errors = [error.code for error in tries if isinstance(error, ServingError)]
        assert errors == [Code.ALREADY_EXISTS] * 7

    play(script())


def test_a_dead_servers_socket_is_replaced(play: Play, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))

    async def script() -> None:
        async with serving(tmp_path / "s"):
            streams = await asyncio.open_unix_connection(tmp_path / "s")
            assert "result" in await ask(streams, b'{"verb": "list"}\n')
            streams[1].close()

    play(script())


def test_the_end_leaves_what_another_has_put_there(play: Play, tmp_path: Path) -> None:
    async def script() -> None:
        async with serving(tmp_path / "s"):
            (tmp_path / "s").unlink()
            (tmp_path / "s").write_text("mine")

    play(script())
    assert (tmp_path / "s").read_text() == "mine"


def test_paths_that_cannot_be(play: Play, tmp_path: Path) -> None:
    async def refused(path: str) -> str:
        with pytest.raises(ServingError) as caught:
            await listen(path)
        return str(caught.value)

    async def script() -> None:
        long = f"{tmp_path}/{'x' * 108}"
        assert (await refused(long)).startswith("INVALID_ARGUMENT: a UNIX socket's path has at most 107 bytes, and /")
        (tmp_path / "file").write_text("kept")
        assert await refused(f"{tmp_path}/file") == f"ALREADY_EXISTS: {tmp_path}/file is there and is not a socket"
        assert (tmp_path / "file").read_text() == "kept"
        nowhere = f"{tmp_path}/no/where"
        text = f"can't make the admin socket {nowhere}: No such file or directory"
        assert await refused(nowhere) == f"FAILED_PRECONDITION: {text}"

    play(script())


def test_a_folder_kept_locked(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415 - only here

    monkeypatch.setattr("manager.locked_folder._LOCK_SECONDS", 0.05)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)

    async def script() -> None:
        with pytest.raises(ServingError, match=r"somebody keeps the folder .* locked"):
            await listen(f"{tmp_path}/s")

    play(script())
    os.close(folder)


def test_a_path_as_long_as_can_be(play: Play, tmp_path: Path) -> None:
    path = tmp_path / ("x" * (107 - len(os.fsencode(tmp_path)) - 1))

    async def script() -> None:
        async with serving(path):
            streams = await asyncio.open_unix_connection(path)
            assert "result" in await ask(streams, b'{"verb": "list"}\n')
            streams[1].close()

    play(script())


def test_what_the_flag_says(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async def script() -> None:
        assert await open_admin("none", 8501, FakeAdministered()) is None
        server = await open_admin("", 8501, FakeAdministered())
        assert server and server.path == f"{tmp_path}/ringserve-8501.sock"
        assert await open_admin("", 8501, FakeAdministered()) is None, "the default one is not worth a server's start"
        with pytest.raises(ServingError):
            await open_admin(server.path, 0, FakeAdministered())
        await server.close()
        server = await open_admin(f"{tmp_path}/own", 8501, FakeAdministered())
        assert server and server.path == f"{tmp_path}/own"
        await server.close()

    play(script())
    assert [record.getMessage().partition(":")[0] for record in caplog.records if record.levelname == "WARNING"] == [
        "no admin socket"
    ]


def test_many_threads_of_clients(play: Play, tmp_path: Path) -> None:
    """Clients of another process block; here threads stand for them."""
    answers: list[bytes] = []

    def client() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "s"))
            for _ in range(20):
                sock.sendall(b'{"verb": "list"}\n')
                answers.append(sock.recv(1 << 16))

    async def script() -> None:
        async with serving(tmp_path / "s"):
            threads = [threading.Thread(target=client) for _ in range(4)]
            for thread in threads:
                thread.start()
            await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))

    play(script())
    assert len(answers) == 80
    assert len(set(answers)) == 1
