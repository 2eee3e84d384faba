"""A UNIX socket of the user's choice: made when the server opens, never taken from a server that lives."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.unix_listener import OWNER_ONLY, UnixListener
from ringserve.errors import Code, ServingError


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Short: a socket's path has at most 107 bytes."""
    before = os.getcwd()
    os.chdir(tmp_path)
    yield "shm.sock"
    os.chdir(before)


def refused(path: str) -> ServingError:
    with pytest.raises(ServingError) as caught:
        UnixListener(path).sock.close()
    return caught.value


def test_the_file_is_made_when_it_listens_and_removed_when_it_closes(path: str) -> None:
    listener = UnixListener(path, OWNER_ONLY)
    assert not os.path.exists(path)
    asyncio.run(listener.listen())
    asyncio.run(listener.listen())
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        connection, _ = listener.sock.accept()
        connection.close()
    listener.close()
    assert not os.path.exists(path)


def test_permissions_are_the_umasks_where_nobody_says(path: str) -> None:
    before = os.umask(0o027)
    try:
        listener = UnixListener(path)
        asyncio.run(listener.listen())
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o750
        listener.close()
    finally:
        os.umask(before)


def test_a_killed_servers_file_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    listener = UnixListener(path)
    asyncio.run(listener.listen())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    listener.close()


def test_a_living_servers_is_not(path: str) -> None:
    first = UnixListener(path)
    second = UnixListener(path)  # while the first loads its models
    asyncio.run(first.listen())
    with pytest.raises(ServingError) as caught:
        asyncio.run(second.listen())
    assert (caught.value.code, caught.value.message) == (Code.UNAVAILABLE, f"Can't listen on {path}: Address already in use")
    second.close()
    assert os.path.exists(path)
    assert refused(path).message.endswith("Address already in use")
    first.close()


def test_a_file_that_is_no_socket_stays(path: str) -> None:
    Path(path).write_text("precious")
    assert refused(path).message == f"Can't listen on {path}: It is there and is not a socket"
    assert Path(path).read_text() == "precious"


def test_another_servers_file_is_left_at_the_end(path: str) -> None:
    listener = UnixListener(path)
    asyncio.run(listener.listen())
    os.unlink(path)
    Path(path).write_text("another's")
    listener.close()
    assert Path(path).read_text() == "another's"


def test_a_folder_that_vanishes_before_it_opens(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    listener = UnixListener("f/shm.sock")
    folder.rmdir()
    with pytest.raises(ServingError, match=r"Can't listen on f/shm\.sock"):
        asyncio.run(listener.listen())
    listener.close()
