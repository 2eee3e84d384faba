"""The source that watches folders: what it emits for what lies on disk, and what it says when nothing does."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from manager.file_system_source import FileSystemStoragePathSource
from manager.model_config import ModelConfig
from manager.version_policy import VersionPolicy, every, latest
from ringserve.errors import Code, ServingError
from ringserve.source import ServableData

Script = Callable[[], Awaitable[None]]
LIMIT = 10


class Watched:
    """A source with everything that it said."""

    def __init__(self, *configs: ModelConfig, poll_seconds: float = -1) -> None:
        self.lists: list[tuple[str, list[tuple[int, str]]]] = []
        self.troubles: list[tuple[str, ServingError]] = []
        self.said = asyncio.Event()
        self.source = FileSystemStoragePathSource(configs, poll_seconds, self._note_trouble)

    def connect(self) -> None:
        self.source.set_aspired_versions_callback(self._note)

    def _note(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        assert all(version.id.name == name for version in versions)
        self.lists.append((name, [(version.id.version, str(version.data)) for version in versions]))
        self.said.set()

    def _note_trouble(self, name: str, error: ServingError) -> None:
        self.troubles.append((name, error))

    async def poll(self) -> list[tuple[str, list[tuple[int, str]]]]:
        """What one poll emits."""
        self.lists.clear()
        await self.source.poll()
        return self.lists

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self.said.clear()
                await self.said.wait()

        await asyncio.wait_for(wait(), LIMIT)


def config(path: Path, policy: VersionPolicy | None = None, name: str = "m") -> ModelConfig:
    return ModelConfig(name, str(path), policy or latest(1))


def connected(*configs: ModelConfig) -> Watched:
    """A source that polls only when told to."""
    watched = Watched(*configs)
    watched.connect()
    return watched


def add(path: Path, *versions: str) -> None:
    for version in versions:
        (path / version).mkdir(parents=True)


def test_versions_are_emitted_as_the_policy_says_with_their_names_as_spelled(tmp_path: Path) -> None:
    add(tmp_path, "1", "00017", "text", "3")

    async def run() -> None:
        assert await connected(config(tmp_path, every())).poll() == [
            ("m", [(17, f"{tmp_path}/00017"), (1, f"{tmp_path}/1"), (3, f"{tmp_path}/3")])
        ]
        assert await connected(config(tmp_path)).poll() == [("m", [(17, f"{tmp_path}/00017")])]

    asyncio.run(run())


def test_a_slash_at_the_end_of_the_base_path_is_not_doubled(tmp_path: Path) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = connected(ModelConfig("m", f"{tmp_path}/", latest(1)))
        assert await watched.poll() == [("m", [(1, f"{tmp_path}/1")])]

    asyncio.run(run())


def test_versions_appear_and_vanish(tmp_path: Path) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = connected(config(tmp_path, every()))

        async def versions() -> list[int]:
            ((_, found),) = await watched.poll()
            return [version for version, _ in found]

        assert await versions() == [1]
        add(tmp_path, "2")
        assert await versions() == [1, 2]
        (tmp_path / "1").rename(tmp_path / "1.denied")
        assert await versions() == [2]
        (tmp_path / "2").rmdir()
        assert await versions() == []
        add(tmp_path, "3")
        assert await versions() == [3]

    asyncio.run(run())


def test_a_missing_base_path_emits_nothing_and_touches_no_other_model(tmp_path: Path) -> None:
    add(tmp_path / "good", "1")
    missing = tmp_path / "missing"

    async def run() -> None:
        watched = connected(config(missing, name="bad"), config(tmp_path / "good", name="good"))
        assert await watched.poll() == [("good", [(1, f"{tmp_path}/good/1")])]
        ((name, error),) = watched.troubles
        assert (name, error.code) == ("bad", Code.NOT_FOUND)
        text = f"Could not find base path {missing} for servable bad with error No such file or directory"
        assert error.message == text
        add(missing, "5")
        assert ("bad", [(5, f"{missing}/5")]) in await watched.poll()

    asyncio.run(run())


def test_a_base_path_that_goes_away_leaves_what_is_loaded(tmp_path: Path) -> None:
    base = tmp_path / "base"
    add(base, "1")

    async def run() -> None:
        watched = connected(config(base))
        assert len(await watched.poll()) == 1
        base.rename(tmp_path / "moved")
        assert await watched.poll() == []

    asyncio.run(run())


def test_an_empty_base_path_is_an_empty_list_and_says_how_versions_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        watched = connected(config(tmp_path))
        assert await watched.poll() == [("m", [])]
        ((_, error),) = watched.troubles
        assert error.message == (
            f"No versions of servable m found under base path {tmp_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )

    asyncio.run(run())


def test_trouble_is_said_once_and_again_after_it_was_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = tmp_path / "base"

    async def run() -> None:
        watched = connected(config(base))

        async def count() -> int:
            for _ in range(2):  # saying it twice would be noticed
                await watched.poll()
            return len(watched.troubles)

        assert await count() == 1
        base.mkdir()
        assert await count() == 2, "this is another trouble"
        add(base, "1")
        assert await count() == 2
        (base / "1").rmdir()
        assert await count() == 3

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert len(caplog.records) == 3


def test_a_file_in_place_of_the_base_path(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("", encoding="utf-8")

    async def run() -> None:
        watched = connected(config(path))
        assert await watched.poll() == []
        assert watched.troubles[0][1].message.endswith("with error Not a directory")

    asyncio.run(run())


@pytest.mark.parametrize("poll_seconds", [0, -1])
def test_intervals_that_do_not_repeat(tmp_path: Path, poll_seconds: int) -> None:
    """0 looks once, at the start; negative never."""
    add(tmp_path, "1")

    async def run() -> None:
        watched = Watched(config(tmp_path), poll_seconds=poll_seconds)
        watched.connect()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == (0 if poll_seconds else 1)
        await asyncio.wait_for(asyncio.gather(*others), LIMIT)
        assert len(watched.lists) == (0 if poll_seconds else 1)

    asyncio.run(run())


def test_it_polls_again_and_again_until_closed(tmp_path: Path) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = Watched(config(tmp_path), poll_seconds=0.001)
        watched.connect()
        await watched.until(lambda: len(watched.lists) >= 3)
        add(tmp_path, "2")
        await watched.until(lambda: watched.lists[-1] == ("m", [(2, f"{tmp_path}/2")]))
        watched.source.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), LIMIT)
        assert all(task.cancelled() for task in others)

    asyncio.run(run())


def test_a_path_that_hangs_holds_up_no_other_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network file system does whose server is gone."""
    add(tmp_path / "good", "1")
    back = threading.Event()
    listdir = os.listdir

    def hanging(path: str) -> list[str]:
        if path.endswith("gone"):
            back.wait(LIMIT)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", hanging)

    async def run() -> None:
        models = config(tmp_path / "gone", name="gone"), config(tmp_path / "good", name="good")
        watched = Watched(*models, poll_seconds=0.001)
        watched.connect()
        try:
            await watched.until(lambda: len(watched.lists) >= 2)
            add(tmp_path / "good", "2")
            await watched.until(lambda: watched.lists[-1] == ("good", [(2, f"{tmp_path}/good/2")]))
        finally:
            watched.source.close()
            back.set()

    asyncio.run(run())


def test_a_second_connection_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = connected(config(tmp_path))
        others: list[str] = []
        watched.source.set_aspired_versions_callback(lambda name, versions: others.append(name))
        assert len(await watched.poll()) == 1
        assert others == []

    asyncio.run(run())
    assert "called multiple times" in caplog.text
