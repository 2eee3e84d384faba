"""The commands, the socket and the verbs together: what `ringserve models` prints of what a server did."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_administered import FakeAdministered

from manager.admin import AdminServer
from ringserve.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdministered]:
    """A server in another thread, the only one in its folder."""
    folder = tmp_path / "run"
    folder.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr("ringserve.admin_socket._TEMPORARY", str(tmp_path / "none"))
    administered = FakeAdministered()
    administered.add("m", 1, 2)
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = AdminServer(f"{folder}/ringserve-8501.sock", administered)
        await server.start()
        administered.stop = asyncio.Event()
        ready.set()
        await administered.stop.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield administered
    loop.call_soon_threadsafe(administered.stop.set)
    thread.join(10)
    loop.close()


def test_a_day_of_an_administrator(served: FakeAdministered, capsys: Capture) -> None:
    def said(*words: str) -> str:
        assert main(["models", *words]) == 0, capsys.readouterr()
        return capsys.readouterr().out

    assert said("load", "m", "--version=1").startswith("m: 2 AVAILABLE, 1 AVAILABLE; policy: ")
    assert said("set-label", "m", "prod", "1=95", "2=5", "--port=8501") == "m: label prod is 1:95%/2:5%\n"
    assert said("set-shadow", "m", "2", "0.1").startswith("m: shadow 2 gets 10% of the requests: ")
    served.disk["/models/n"] = {7: None}
    assert said("load", "n", "--base-path=/models/n").startswith("n: 7 AVAILABLE")
    assert [line.split()[:3] for line in said("list").splitlines()] == [
        ["MODEL", "VERSIONS", "LABELS"],
        ["m", "2", "AVAILABLE,"],
        ["n", "7", "AVAILABLE"],
    ]
    assert "  label prod is 1:95%/2:5%\n" in said("status", "m")
    assert json.loads(said("status", "--json")) == served.describe()
    assert said("set-label", "m", "prod", "2") == "m: label prod is 2\n"
    assert said("unload", "m", "--version=1").startswith("m: 2 AVAILABLE; policy: ")
    assert said("unload", "n") == "n: unloaded\n"
    assert said("set-label", "m", "prod", "--remove") == "m: no label prod\n"


def test_what_cannot_be_fails_in_words(served: FakeAdministered, capsys: Capture) -> None:
    assert main(["models", "unload", "x"]) == 1
    assert main(["models", "load", "x"]) == 1
    text = "no model x is configured\nno model x is configured: a base path is needed to add it\n"
    assert capsys.readouterr() == ("", text)
    served.stuck.add(("m", 1))
    assert main(["models", "load", "m", "--version=1", "--timeout=0.1"]) == 1
    assert capsys.readouterr() == ("", "version 1 of model m is LOADING after 0.1 s\n")
