"""Where admin sockets are: the folder of this user's, and nobody else's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ringserve import admin_socket
from ringserve.admin_socket import answers, default_path, existing_paths
from ringserve.errors import Code, ServingError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for /tmp; there is no XDG_RUNTIME_DIR."""
    monkeypatch.setattr(admin_socket, "_TEMPORARY", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return tmp_path


def test_the_folder_is_made_for_its_owner_alone(temporary: Path) -> None:
    folder = temporary / f"ringserve-{os.geteuid()}"
    assert default_path(8501) == f"{folder}/ringserve-8501.sock"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert default_path(0) == f"{folder}/ringserve-{os.getpid()}.sock"


def test_the_runtime_folder_comes_first(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = temporary / "run"
    runtime.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert default_path(1) == f"{runtime}/ringserve-1.sock"


@pytest.mark.parametrize("value", ["relative", "/no/such/folder", ""])
def test_a_runtime_folder_that_is_none(value: str, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert default_path(1).startswith(f"{temporary}/ringserve-")


def test_folders_that_others_can_write_to_are_not_trusted(temporary: Path) -> None:
    folder = temporary / f"ringserve-{os.geteuid()}"
    folder.mkdir()
    (folder / "ringserve-1.sock").touch()
    assert existing_paths()
    folder.chmod(0o777)
    assert existing_paths() == []
    with pytest.raises(ServingError) as caught:
        default_path(1)
    assert caught.value.message == f"{folder} is not a folder of this user's alone: admin sockets there can't be trusted"


def test_a_link_is_not_trusted(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir(0o700)
    (temporary / f"ringserve-{os.geteuid()}").symlink_to(temporary / "elsewhere")
    with pytest.raises(ServingError, match="can't be trusted"):
        default_path(1)


def test_a_folder_that_cannot_be_made(temporary: Path) -> None:
    (temporary / f"ringserve-{os.geteuid()}").write_text("in the way")
    with pytest.raises(ServingError) as caught:
        default_path(1)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_sockets_are_found_in_both_folders(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = default_path(8501)
    runtime = temporary / "run"
    runtime.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    second = default_path(8502)
    for path in (first, second, f"{runtime}/other.sock"):
        Path(path).touch()
    assert existing_paths() == [second, first]
    assert existing_paths(8501) == [first]
    assert existing_paths(1) == []


def test_who_answers(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert not answers(path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert not answers(path)
        sock.listen(0)
        assert answers(path)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        assert answers(path), "also with a full queue"
        for one in waiting:
            one.close()
    assert not answers(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        os.unlink(path)
        other.bind(path)
        assert answers(path), "another kind of socket must not be taken for dead"
