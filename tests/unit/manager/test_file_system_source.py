"""The source that watches folders: what it emits for what lies on disk, and what it says when nothing does."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from file_server import serving

from manager.file_system_source import FileSystemStoragePathSource
from manager.found_versions import FoundVersions, find_versions
from manager.model_config import ModelConfig
from manager.version_policy import AllPolicy, LatestPolicy, SpecificPolicy, VersionPolicy
from ringserve.errors import Code, ServingError
from ringserve.source import ServableData

Script = Callable[[], Awaitable[None]]
LIMIT = 10
ROOT = Path(__file__).resolve().parents[3]


class Watched:
    """A source with everything that it said."""

    def __init__(self, *configs: ModelConfig, poll_seconds: float = -1, patience_seconds: float = LIMIT) -> None:
        self.lists: list[tuple[str, list[tuple[int, str]]]] = []
        self.troubles: list[tuple[str, ServingError | None]] = []
        self.said = asyncio.Event()
        self.source = FileSystemStoragePathSource(configs, poll_seconds, self._note_trouble, patience_seconds)

    def connect(self) -> None:
        self.source.set_aspired_versions_callback(self._note)

    def _note(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        assert all(version.id.name == name for version in versions)
        self.lists.append((name, [(version.id.version, str(version.data)) for version in versions]))
        self.said.set()

    def _note_trouble(self, name: str, error: ServingError | None) -> None:
        self.troubles.append((name, error))
        self.said.set()

    def trouble(self) -> ServingError:
        """The only one there was."""
        ((_, error),) = self.troubles
        assert error is not None
        return error

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
    return ModelConfig(name, str(path), policy or LatestPolicy(1))


def connected(*configs: ModelConfig) -> Watched:
    """A source that polls only when told to."""
    watched = Watched(*configs)
    watched.connect()
    return watched


def add(path: Path, *versions: str) -> None:
    for version in versions:
        (path / version).mkdir(parents=True)


class Hanging:
    """os.listdir, which waits at base paths that end in `gone` until let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.back = threading.Event()
        self._listdir = os.listdir
        monkeypatch.setattr(os, "listdir", self)

    def __call__(self, path: str) -> list[str]:
        if path.endswith("gone"):
            self.back.wait(LIMIT)
        return self._listdir(path)


def test_versions_are_emitted_as_the_policy_says_with_their_names_as_spelled(tmp_path: Path) -> None:
    add(tmp_path, "1", "00017", "text", "3")

    async def run() -> None:
        assert await connected(config(tmp_path, AllPolicy())).poll() == [
            ("m", [(17, f"{tmp_path}/00017"), (1, f"{tmp_path}/1"), (3, f"{tmp_path}/3")])
        ]
        assert await connected(config(tmp_path)).poll() == [("m", [(17, f"{tmp_path}/00017")])]

    asyncio.run(run())


def test_a_slash_at_the_end_of_the_base_path_is_not_doubled(tmp_path: Path) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = connected(ModelConfig("m", f"{tmp_path}/", LatestPolicy(1)))
        assert await watched.poll() == [("m", [(1, f"{tmp_path}/1")])]

    asyncio.run(run())


def test_versions_appear_and_vanish(tmp_path: Path) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = connected(config(tmp_path, AllPolicy()))

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
        assert watched.troubles[0][0] == "bad"
        assert watched.trouble().code is Code.NOT_FOUND
        reason = f"NOT_FOUND: {missing}; No such file or directory"
        assert watched.trouble().message == f"Could not find base path {missing} for servable bad with error {reason}"
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
        assert watched.trouble().message == (
            f"No versions of servable m found under base path {tmp_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )

    asyncio.run(run())


def test_trouble_is_said_once_and_again_after_it_was_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = tmp_path / "base"

    async def run() -> None:
        watched = connected(config(base))

        async def said() -> list[bool]:
            """Of each thing said so far: was it a trouble?"""
            for _ in range(2):  # saying it twice would be noticed
                await watched.poll()
            return [error is not None for _, error in watched.troubles]

        assert await said() == [True]
        base.mkdir()
        assert await said() == [True, True], "this is another trouble"
        add(base, "1")
        assert await said() == [True, True, False]
        (base / "1").rmdir()
        assert await said() == [True, True, False, True]

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert len(caplog.records) == 3


def test_a_surprise_is_a_trouble_and_the_next_look_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add(tmp_path, "1")
    looks = itertools.count()

    def surprise(config: ModelConfig) -> FoundVersions:
        if next(looks) < 3:
            raise RecursionError("too deep")
        return find_versions(config)

    monkeypatch.setattr("manager.file_system_source.find_versions", surprise)

    async def run() -> None:
        watched = Watched(config(tmp_path), poll_seconds=0.001)
        watched.connect()
        await watched.until(lambda: bool(watched.lists))
        watched.source.close()
        (_, error), (_, over) = watched.troubles[:2]
        assert error is not None
        assert (error.code, error.message, over) == (Code.INTERNAL, "RecursionError: too deep", None)

    asyncio.run(run())
    assert caplog.text.count("Traceback") == 1, "said once, not at every look"


def test_a_file_in_place_of_the_base_path(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("", encoding="utf-8")

    async def run() -> None:
        watched = connected(config(path))
        assert await watched.poll() == []
        assert watched.trouble().code is Code.FAILED_PRECONDITION
        assert watched.trouble().message.endswith("; Not a directory")

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
    hanging = Hanging(monkeypatch)

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
            hanging.back.set()

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


@pytest.mark.parametrize(
    ("names", "policy", "expected"),
    [
        (("17", "42", "text"), LatestPolicy(), [(42, "42")]),
        (("17", "42"), AllPolicy(), [(17, "17"), (42, "42")]),
        (("42", "33", "30", "21", "17"), LatestPolicy(3), [(42, "42"), (33, "33"), (30, "30")]),
        (("17", "30", "42"), SpecificPolicy((17, 30)), [(17, "17"), (30, "30")]),
        (("17", "30", "42"), SpecificPolicy((30, 17, 30)), [(30, "30"), (17, "17")]),
        (("17", "030"), SpecificPolicy((30, 17)), [(17, "17"), (30, "030")]),
        (("00017",), SpecificPolicy((17,)), [(17, "00017")]),
        (("17",), SpecificPolicy(()), []),
        (("20170111173521",), LatestPolicy(), [(20170111173521, "20170111173521")]),
        (("10", "9", "2"), AllPolicy(), [(10, "10"), (2, "2"), (9, "9")]),
    ],
)
def test_what_each_policy_emits(
    tmp_path: Path, names: tuple[str, ...], policy: VersionPolicy, expected: list[tuple[int, str]]
) -> None:
    add(tmp_path, *names)

    async def run() -> None:
        emitted = [(version, f"{tmp_path}/{name}") for version, name in expected]
        for base in (str(tmp_path), f"file://{tmp_path}/"):
            assert await connected(ModelConfig("m", base, policy)).poll() == [("m", emitted)]

    asyncio.run(run())


def test_specific_versions_that_are_all_there_need_no_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As upstream: a base path with very many versions is not gone through."""
    add(tmp_path, "1", "2")
    listed: list[str] = []
    listdir = os.listdir

    def noting(path: str) -> list[str]:
        listed.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", noting)

    async def run() -> None:
        await connected(config(tmp_path, SpecificPolicy((2, 1)))).poll()
        assert listed == []
        await connected(config(tmp_path, SpecificPolicy((2, 3)))).poll()
        assert listed == [str(tmp_path)]

    asyncio.run(run())


def test_no_specific_version_asked_for_is_an_empty_list(tmp_path: Path) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = connected(config(tmp_path, SpecificPolicy(())))
        assert await watched.poll() == [("m", [])]
        assert watched.trouble().message == "No specific versions requested for servable m."

    asyncio.run(run())


def test_missing_and_ambiguous_versions_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(tmp_path, "1", "001")
    missing = (
        "Version 7 of servable m, which was requested to be served as a 'specific' version in the servable's version "
        "policy, was not found in the file system"
    )
    twice = "Duplicate version directories detected. Version 1 will be loaded from 1, 001 will be ignored."

    async def run() -> None:
        watched = connected(config(tmp_path, SpecificPolicy((1, 7))))
        for _ in range(2):
            assert await watched.poll() == [("m", [(1, f"{tmp_path}/1")])]
        assert sorted(caplog.messages) == sorted([missing, twice])
        (tmp_path / "001").rmdir()
        await watched.poll()
        add(tmp_path, "001")
        await watched.poll()
        assert sorted(caplog.messages) == sorted([missing, twice, twice]), "it came anew"
        assert watched.troubles == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())


def test_a_plain_file_is_aspired_like_a_folder(tmp_path: Path) -> None:
    """As upstream: it is the load that fails, with a text about this version."""
    (tmp_path / "5").write_text("", encoding="utf-8")

    async def run() -> None:
        assert await connected(config(tmp_path)).poll() == [("m", [(5, f"{tmp_path}/5")])]

    asyncio.run(run())


def test_a_base_path_that_can_not_be_one_is_a_trouble(tmp_path: Path) -> None:
    async def run() -> None:
        for base, code in (("file://elsewhere/m", Code.INVALID_ARGUMENT), ("/a\0b", Code.INVALID_ARGUMENT)):
            for policy in (LatestPolicy(), SpecificPolicy((1,))):
                watched = connected(ModelConfig("m", base, policy))
                assert await watched.poll() == []
                assert watched.trouble().code is code

    asyncio.run(run())


def test_several_models_and_one_without_versions(tmp_path: Path) -> None:
    add(tmp_path / "a", "1", "2")
    add(tmp_path / "b", "no")

    async def run() -> None:
        watched = connected(config(tmp_path / "a", name="a"), config(tmp_path / "b", name="b"))
        assert sorted(await watched.poll()) == [("a", [(2, f"{tmp_path}/a/2")]), ("b", [])]

    asyncio.run(run())


def test_models_come_stay_and_go(tmp_path: Path) -> None:
    for name in ("gone", "kept", "new"):
        add(tmp_path / name, "1")
    gone, kept, new = (config(tmp_path / name, name=name) for name in ("gone", "kept", "new"))

    async def run() -> None:
        watched = connected(gone, kept)
        await watched.poll()
        watched.lists.clear()
        watched.source.set_models([kept, new])
        assert watched.lists == [("gone", [])]
        assert sorted(await watched.poll()) == [("kept", [(1, f"{tmp_path}/kept/1")]), ("new", [(1, f"{tmp_path}/new/1")])]
        watched.lists.clear()
        watched.source.set_models([kept, new])
        assert watched.lists == []

    asyncio.run(run())


def test_a_model_that_goes_takes_its_trouble_along(tmp_path: Path) -> None:
    missing = config(tmp_path / "missing")

    async def run() -> None:
        watched = connected(missing)
        await watched.poll()
        watched.source.set_models([])
        assert [error is None for _, error in watched.troubles] == [False, True]
        watched.source.set_models([missing])
        await watched.poll()
        assert len(watched.troubles) == 3

    asyncio.run(run())


def test_of_a_name_configured_twice_the_first_counts(tmp_path: Path) -> None:
    add(tmp_path / "a", "1")
    add(tmp_path / "b", "2")

    async def run() -> None:
        watched = connected(config(tmp_path / "a"), config(tmp_path / "b"))
        assert await watched.poll() == [("m", [(1, f"{tmp_path}/a/1")])]

    asyncio.run(run())


def test_a_changed_policy_or_base_path_is_looked_at_at_once(tmp_path: Path) -> None:
    """Though the next poll is far away; and the model is never without versions in between."""
    add(tmp_path / "a", "1", "02", "3", "5", "8", "13")
    add(tmp_path / "b", "21")
    a, b = tmp_path / "a", tmp_path / "b"

    async def run() -> None:
        watched = Watched(config(a, LatestPolicy(2)), poll_seconds=1000)
        watched.connect()
        await watched.until(lambda: watched.lists == [("m", [(13, f"{a}/13"), (8, f"{a}/8")])])
        watched.source.set_models([config(a, LatestPolicy(2))])
        watched.source.set_models([config(a, SpecificPolicy((2, 5)))])
        await watched.until(lambda: watched.lists[1:] == [("m", [(2, f"{a}/02"), (5, f"{a}/5")])])
        watched.source.set_models([config(b)])
        await watched.until(lambda: watched.lists[2:] == [("m", [(21, f"{b}/21")])])
        watched.source.close()

    asyncio.run(run())


def test_with_interval_0_a_new_configuration_is_looked_at_once(tmp_path: Path) -> None:
    add(tmp_path, "1")

    async def run() -> None:
        watched = Watched(config(tmp_path), poll_seconds=0)
        watched.connect()
        await watched.until(lambda: len(watched.lists) == 1)
        add(tmp_path, "2")
        watched.source.set_models([config(tmp_path)])
        await watched.until(lambda: watched.lists[1:] == [("m", [(2, f"{tmp_path}/2")])])
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), LIMIT)
        assert len(watched.lists) == 2

    asyncio.run(run())


def test_a_look_that_takes_long_is_said_until_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = Hanging(monkeypatch)
    add(tmp_path / "gone", "1")

    async def run() -> None:
        watched = Watched(config(tmp_path / "gone"), poll_seconds=0.001, patience_seconds=0.01)
        watched.connect()
        await watched.until(lambda: bool(watched.troubles))
        assert watched.trouble().code is Code.UNAVAILABLE
        assert "longer than 0.01 s" in watched.trouble().message
        assert watched.lists == []
        hanging.back.set()
        await watched.until(lambda: len(watched.lists) >= 1 and watched.troubles[-1][1] is None)
        watched.source.close()

    asyncio.run(run())


def test_a_model_whose_base_path_hangs_can_be_given_another_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old look finds at last is not emitted."""
    hanging = Hanging(monkeypatch)
    add(tmp_path / "gone", "1")
    add(tmp_path / "good", "2")

    async def run() -> None:
        watched = Watched(config(tmp_path / "gone"), poll_seconds=0.001)
        watched.connect()
        by_hand = asyncio.create_task(watched.source.poll())
        await asyncio.sleep(0)
        watched.source.set_models([config(tmp_path / "good")])
        await watched.until(lambda: ("m", [(2, f"{tmp_path}/good/2")]) in watched.lists)
        watched.source.set_models([])
        assert watched.lists[-1] == ("m", [])
        watched.lists.clear()
        hanging.back.set()
        await asyncio.wait_for(by_hand, LIMIT)
        assert watched.lists == []

    asyncio.run(run())


HUNG = """
import asyncio, os, sys, threading
from manager.file_system_source import FileSystemStoragePathSource
from manager.found_versions import FoundVersions, find_versions
from manager.model_config import ModelConfig
listing = threading.Event()
def hang(path):
    listing.set()
    threading.Event().wait()
os.listdir = hang
async def run():
    source = FileSystemStoragePathSource([ModelConfig("m", "/m")], 1.0, print)
    source.set_aspired_versions_callback(print)
    while not listing.is_set():
        await asyncio.sleep(0.001)
    source.close()
asyncio.run(run())
print("ended")
"""


def test_a_look_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HUNG], cwd=ROOT, timeout=30, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)


def test_polls_are_counted_from_start_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With looks that take most of the interval, the pause is what is left of it."""
    pauses: list[float] = []
    slept = asyncio.sleep
    times = itertools.count(0.0, 0.001)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await slept(0)

    add(tmp_path, "1")

    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: next(times))
        monkeypatch.setattr(asyncio, "sleep", sleep)
        watched = Watched(config(tmp_path), poll_seconds=1000)
        task = asyncio.create_task(watched.source._watch(watched.source._watched["m"]))
        watched.source._callback = watched._note
        while len(pauses) < 2:
            await slept(0)
        task.cancel()

    asyncio.run(run())
    assert all(0 < pause < 1000 for pause in pauses)


def test_a_replaced_folder_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(tmp_path / "m", "1")
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"one")

    async def run() -> None:
        watched = connected(config(tmp_path / "m"))
        for _ in range(2):
            await watched.poll()
        (tmp_path / "m" / "1").rename(tmp_path / "old")
        add(tmp_path / "m", "1")
        (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"another")
        for _ in range(2):
            assert await watched.poll() == [("m", [(1, f"{tmp_path}/m/1")])]
        (text,) = caplog.messages
        assert text.startswith("Version 1 of servable m is not what it was")
        assert "under a new number" in text

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())


def test_another_base_path_with_another_version_of_the_same_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The version loaded stays, as upstream's does: its number says that it is the same."""
    for name in ("a", "b"):
        add(tmp_path / name, "1")
        (tmp_path / name / "1" / "saved_model.pb").write_bytes(name.encode() * 5)
        os.utime(tmp_path / name / "1" / "saved_model.pb", (5, 5) if name == "a" else (6, 6))

    async def run() -> None:
        watched = connected(config(tmp_path / "a"))
        await watched.poll()
        watched.source.set_models([config(tmp_path / "b")])
        await watched.poll()
        (text,) = caplog.messages
        assert f"{tmp_path}/a/1: {tmp_path}/b/1" in text

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())


def test_remote_versions_are_emitted_with_their_uris(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    add(tmp_path / "m", "1", "2")

    async def run() -> None:
        with serving(tmp_path) as address:
            watched = Watched(ModelConfig("m", f"{address}/m", AllPolicy()), poll_seconds=0.001)
            watched.connect()
            await watched.until(lambda: watched.lists[-1:] == [("m", [(1, f"{address}/m/1"), (2, f"{address}/m/2")])])
            add(tmp_path / "m", "3")
            await watched.until(lambda: watched.lists[-1][1][-1:] == [(3, f"{address}/m/3")])
        await watched.until(lambda: bool(watched.troubles))  # the server is gone
        assert watched.trouble().code is Code.UNAVAILABLE
        assert len(watched.lists[-1][1]) == 3, "what is loaded stays"
        watched.source.close()

    asyncio.run(run())


def test_a_scheme_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)

    async def run() -> None:
        watched = connected(ModelConfig("m", "gs://bucket/m", LatestPolicy(1)))
        assert await watched.poll() == []
        assert watched.trouble().code is Code.FAILED_PRECONDITION
        assert "pip install" in watched.trouble().message

    asyncio.run(run())
