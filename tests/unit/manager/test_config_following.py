"""The server follows its config file: what is new in it is applied once, and what is wrong is said once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from core_rig import Rig, config, label, model, text
from plugin_sources import Recorded
from stage import pass_time, run

from manager.config_file import ConfigFile
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


def test_what_the_file_holds_now(tmp_path: Path) -> None:
    async def script(rig: Rig, path: Path) -> None:
        path.write_bytes(text(model("x")))
        assert rig.core.read_config_file() == config(model("x"))
        path.unlink()
        with pytest.raises(ServingError) as caught:
            rig.core.read_config_file()
        assert caught.value.code is Code.NOT_FOUND

    follow(tmp_path, script)


def test_a_server_without_a_file_says_so() -> None:
    async def work() -> None:
        with pytest.raises(ServingError, match="without --model_config_file") as caught:
            Rig().core.read_config_file()
        assert caught.value.code is Code.FAILED_PRECONDITION

    run(work())
