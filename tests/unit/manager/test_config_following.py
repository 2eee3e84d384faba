"""The server follows its config file: what is new in it is applied once, and what is wrong is said once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from core_rig import Rig, config, label, model, plain, text
from fake_loader import settle
from plugin_sources import Recorded
from stage import pass_time, run

from manager.config_file import ConfigFile
from manager.daemon_threads import DaemonThreads
from ringserve.errors import Code, ServingError

Script = Callable[[Rig, Path], Coroutine[Any, Any, None]]


def follow(folder: Path, script: Script) -> None:
    """Run a script with a server that has model m and looks at its file every 10 s."""

    async def work() -> None:
        path = folder / "models.config"
        path.write_bytes(text(model()))
        file = ConfigFile(str(path))
        rig = Rig(file=file)
        file.applied(file.read())
        rig.start(model())
        rig.source("m").emit(1)
        follower = asyncio.ensure_future(rig.core.follow_file(10))
        try:
            await pass_time(1)
            await script(rig, path)
            assert not follower.done()
        finally:
            follower.cancel()

    run(work())


def test_what_is_new_in_the_file_is_applied_once(tmp_path: Path) -> None:
    async def script(rig: Rig, path: Path) -> None:
        await pass_time(10)
        assert sum(rig.core.reloads.values()) == 0, "nothing is new"
        path.write_bytes(text(model(), model("n")))
        await pass_time(8)
        assert list(rig.core.models) == ["m"]
        await pass_time(2)
        assert list(rig.core.models) == ["m", "n"]
        rig.source("n").emit(1)
        for _ in range(5):
            await pass_time(10)
        assert rig.core.reloads == {"ok": 1, "refused": 0, "incomplete": 0}
        assert rig.available("n") == [1]

    follow(tmp_path, script)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (None, "Failed to read ModelServerConfig file: {path}; No such file or directory"),
        (b"", "Failed to read ModelServerConfig file: {path}; Invalid argument"),
        (b"what?", "Failed to read ModelServerConfig file: Invalid protobuf file: '{path}'"),
        (
            text(model(), model()),
            "PollFilesystemAndReloadConfig failed to ReloadConfig: Illegal to list model m multiple times in config list",
        ),
    ],
)
def test_a_bad_file_is_said_once_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, contents: bytes | None, said: str
) -> None:
    async def script(rig: Rig, path: Path) -> None:
        for _ in range(2):
            if contents is None:
                path.unlink()
            else:
                path.write_bytes(contents)
            caplog.clear()
            for _ in range(5):
                await pass_time(10)
            assert caplog.text.count(said.format(path=path)) == 1
            assert (list(rig.core.models), rig.available()) == (["m"], [1])
            path.write_bytes(text(model()))  # well again, and so the next time it is bad is news
            await pass_time(10)

    follow(tmp_path, script)


def test_a_refused_file_is_tried_again_and_goes_through_when_it_may(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(rig: Rig, path: Path) -> None:
        path.write_bytes(text(model("m", label("stable", 2))))
        for _ in range(3):
            await pass_time(10)
        assert rig.core.reloads["refused"] == 3
        assert caplog.text.count("version 2 of model m, which is not currently available") == 1
        rig.source("m").emit(1, 2)
        await pass_time(10)
        assert rig.serving.labels["m"] == {"stable": [(2, 1.0)]}
        await pass_time(10)
        assert rig.core.reloads == {"ok": 1, "refused": 3, "incomplete": 0}

    follow(tmp_path, script)


def test_a_model_that_does_not_come_up_is_said_and_the_file_is_applied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(rig: Rig, path: Path) -> None:
        path.write_bytes(text(model(), model("n")))
        await pass_time(10)
        rig.source("n").emit()
        for _ in range(3):
            await pass_time(10)
        said = "PollFilesystemAndReloadConfig failed to ReloadConfig: 1 model(s) did not become available: {{"
        assert caplog.text.count(said) == 1
        assert rig.core.reloads == {"ok": 0, "refused": 0, "incomplete": 1}

    follow(tmp_path, script)


def test_a_file_that_changes_while_a_model_still_loads_does_not_wait_for_it(tmp_path: Path) -> None:
    async def script(rig: Rig, path: Path) -> None:
        path.write_bytes(text(model(), model("n")))
        await pass_time(10)
        path.write_bytes(text(model(), model("n"), model("o")))
        await pass_time(10)
        rig.source("o").emit(1)
        await pass_time(1)
        assert rig.available("o") == [1]
        assert rig.core.reloads["ok"] == 1, "n has not settled"

    follow(tmp_path, script)


def test_a_change_from_elsewhere_stays_until_the_file_changes(tmp_path: Path) -> None:
    async def script(rig: Rig, path: Path) -> None:
        await rig.core.reload(config())
        await pass_time(30)
        assert rig.core.models == {}
        path.write_bytes(text(model()) + b"\n")
        await pass_time(10)
        assert list(rig.core.models) == ["m"]
        assert [source.closed for source in Recorded.made] == [1, 0]

    follow(tmp_path, script)


def test_a_surprise_does_not_end_the_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(rig: Rig, path: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("manager.server_core.from_config", {}.__getitem__)
            path.write_bytes(text(model(), model("n")))
            for _ in range(3):
                await pass_time(10)
        assert caplog.text.count("TypeError: unhashable type: 'ModelServerConfig'\nTraceback") == 1
        await pass_time(10)
        assert list(rig.core.models) == ["m", "n"]

    follow(tmp_path, script)


@pytest.mark.parametrize("named", [False, True])
def test_a_reload_from_the_file_counts_as_the_follower_s_own(tmp_path: Path, named: bool) -> None:
    async def script(rig: Rig, path: Path) -> None:
        path.write_bytes(text(model(), model("n")))
        reload = asyncio.ensure_future(rig.core.reload_file(str(path) if named else None, 60.0))
        await settle()
        rig.source("n").emit(1)
        assert plain(await reload) == [("m", "kept", None), ("n", "added", None)]
        await rig.core.reload(config(model()))
        await pass_time(30)
        assert list(rig.core.models) == ["m"], "what was changed since stays"

    follow(tmp_path, script)


def test_a_refused_reload_from_the_file_is_still_news(tmp_path: Path) -> None:
    async def script(rig: Rig, path: Path) -> None:
        path.write_bytes(text(model("m", label("stable", 2))))
        with pytest.raises(ServingError, match="which is not currently available"):
            await rig.core.reload_file(None)
        rig.source("m").emit(1, 2)
        await pass_time(10)
        assert rig.serving.labels["m"] == {"stable": [(2, 1.0)]}

    follow(tmp_path, script)


def test_a_reload_from_another_file_is_none_of_the_server_s_own(tmp_path: Path) -> None:
    async def script(rig: Rig, path: Path) -> None:
        other = tmp_path / "other.config"
        other.write_bytes(text())
        assert plain(await rig.core.reload_file(str(other))) == [("m", "removed", None)]
        other.unlink()
        with pytest.raises(ServingError) as caught:
            await rig.core.reload_file(str(other))
        assert caught.value.code is Code.NOT_FOUND
        await pass_time(30)
        assert rig.core.models == {}

    follow(tmp_path, script)


def test_a_file_that_cannot_be_read_for_now_holds_up_nothing_else(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(file=ConfigFile(str(tmp_path / "models.config")), threads=DaemonThreads("storage"))
        rig.start(model())
        back = threading.Event()

        def read(_: ConfigFile) -> bytes:
            assert back.wait(20)
            return text(model("n"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ConfigFile, "read", read)
            reload = asyncio.ensure_future(rig.core.reload_file(None, 0.0))
            await settle()
            await rig.core.reload(config(model(), model("o")), 0.0)
            assert not reload.done()
            back.set()
            assert [name for name, _, _ in plain(await reload)] == ["m", "n", "o"]
        assert list(rig.core.models) == ["n"]

    run(work())


def test_a_server_without_a_file_says_so() -> None:
    async def work() -> None:
        with pytest.raises(ServingError, match="without --model_config_file") as caught:
            await Rig().core.reload_file(None)
        assert caught.value.code is Code.FAILED_PRECONDITION

    run(work())
