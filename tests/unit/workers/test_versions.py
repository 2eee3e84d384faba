"""The versions that a worker holds, and what is known of their signatures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from small_version import LIMIT, Array, SmallVersion

from ringserve.batching_parameters import BatchingParameters
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import Column
from workers.engine import Inputs, LoadedVersion
from workers.limits import Limits
from workers.platforms import Loaded
from workers.probe import Report
from workers.recorded_requests import RecordedRequests
from workers.versions import Versions
from workers.warm_up import WarmUp

ONE, TWO = ServableId("small", 1), ServableId("small", 2)
DOUBLES: Inputs = ((2, Column("<f8", ())),)


class SmallPlatforms:
    """Loads what was prepared for a path, an error included."""

    def __init__(self, **paths: SmallVersion | ServingError) -> None:
        self._paths = paths

    def load(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> Loaded:
        found = self._paths[path]
        if isinstance(found, ServingError):
            raise found
        return Loaded(found, found.unload)

    def estimate(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> int:
        return len(path)


def versions_of(**paths: SmallVersion | ServingError) -> Versions:
    return Versions(SmallPlatforms(**paths), ServerOptions(enable_model_warmup=False))


def load(versions: Versions, servable: ServableId, path: str) -> LoadedVersion:
    version, _ = versions.load(servable, path, "small", {})
    return version


def test_a_loaded_version_is_known_with_its_default_signature() -> None:
    version = SmallVersion()
    versions = versions_of(path=version)
    assert load(versions, ONE, "path") is version
    assert versions.get(ONE) is version
    runs = version.runs
    assert runs > 0
    assert versions.declared(ONE, DEFAULT_SIGNATURE).batched
    assert versions.report(ONE, DEFAULT_SIGNATURE, (version.column,)) == versions.declared(ONE, DEFAULT_SIGNATURE)
    assert version.runs == runs, "probed once"


def test_a_load_that_fails_leaves_nothing() -> None:
    error = ServingError(Code.DATA_LOSS, "no model")
    versions = versions_of(path=error)
    with pytest.raises(ServingError) as caught:
        load(versions, ONE, "path")
    assert caught.value is error
    with pytest.raises(ServingError, match="does not hold"):
        versions.get(ONE)


@pytest.mark.parametrize("inputs", [None, DOUBLES])
def test_what_is_not_held_is_not_found(inputs: Inputs | None) -> None:
    versions = versions_of(path=SmallVersion())
    load(versions, ONE, "path")
    with pytest.raises(ServingError) as caught:
        if inputs is None:
            versions.declared(TWO, DEFAULT_SIGNATURE)
        else:
            versions.report(TWO, DEFAULT_SIGNATURE, inputs)
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, f"This worker does not hold {TWO}")


def test_unload_forgets_one_version_and_no_other() -> None:
    one, two = SmallVersion(), SmallVersion()
    versions = versions_of(one=one, two=two)
    load(versions, ONE, "one")
    load(versions, TWO, "two")
    versions.unload(ONE)
    assert (one.unloaded, two.unloaded) == (True, False)
    with pytest.raises(ServingError):
        versions.declared(ONE, DEFAULT_SIGNATURE)
    assert versions.declared(TWO, DEFAULT_SIGNATURE).batched
    versions.unload(ONE)  # again: nothing is left to do


def test_a_version_that_comes_again_is_probed_again() -> None:
    again = SmallVersion()
    versions = versions_of(first=SmallVersion(), again=again)
    load(versions, ONE, "first")
    versions.unload(ONE)
    load(versions, ONE, "again")
    assert again.runs > 0


def held_up() -> tuple[SmallVersion, threading.Event, threading.Event]:
    """A version whose runs, once armed, say that they have begun and wait for the gate."""
    begun, gate = threading.Event(), threading.Event()

    def hold(x: Array) -> Array:
        begun.set()
        assert gate.wait(LIMIT)
        return x

    return SmallVersion(hold), begun, gate


def test_no_version_is_unloaded_while_it_is_probed() -> None:
    """A lane may be asked for while the version goes: its session must not be closed under the probe."""
    version, begun, gate = held_up()
    version.signatures = {}  # not probed by the load
    versions = versions_of(path=version)
    load(versions, ONE, "path")
    version.signatures = SmallVersion().signatures
    with ThreadPoolExecutor(2) as pool:
        probing: Future[Report] = pool.submit(versions.declared, ONE, DEFAULT_SIGNATURE)
        assert begun.wait(LIMIT)
        unloading = pool.submit(versions.unload, ONE)
        assert not wait([unloading], timeout=0.05).done
        gate.set()
        assert probing.result(LIMIT).batched
        unloading.result(LIMIT)
    assert version.unloaded


def test_what_was_found_out_so_far() -> None:
    version = SmallVersion()
    versions = versions_of(path=version)
    assert versions.reports(ONE) == {}
    load(versions, ONE, "path")
    declared = versions.declared(ONE, DEFAULT_SIGNATURE)
    other = versions.report(ONE, DEFAULT_SIGNATURE, ())
    found = versions.reports(ONE)
    assert found == {
        (DEFAULT_SIGNATURE, None): declared,
        (DEFAULT_SIGNATURE, (version.column,)): declared,
        (DEFAULT_SIGNATURE, ()): other,
    }
    found.clear()
    assert versions.reports(ONE), "it is a copy"
    versions.unload(ONE)
    assert versions.reports(ONE) == {}


def write_parameters(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "batching_params.pbtxt").write_text(text)
    return folder


def test_without_batching_a_version_has_no_parameters(tmp_path: Path) -> None:
    path = str(write_parameters(tmp_path / "1", "max_batch_size { value: 0 }"))
    versions = versions_of(**{path: SmallVersion()})
    load(versions, ONE, path)
    assert versions.parameters(ONE) is None
    assert versions.parameters(TWO) is None


def test_parameters_of_the_server_and_of_a_version(tmp_path: Path) -> None:
    own = str(write_parameters(tmp_path / "1", "max_batch_size { value: 7 }"))
    options = ServerOptions(enable_model_warmup=False, enable_batching=True, enable_per_model_batching_parameters=True)
    versions = Versions(SmallPlatforms(**{own: SmallVersion(), "none": SmallVersion(), "table": SmallVersion()}), options)
    load(versions, ONE, own)
    load(versions, TWO, "none")
    found = versions.parameters(ONE)
    assert found is not None and found.max_batch_size == 7
    assert versions.parameters(TWO) is None, "it is not batched"
    versions.unload(ONE)
    assert versions.parameters(ONE) is None
    versions.unload(TWO)
    versions.load(TWO, "table", "lookup_table", {})
    assert versions.parameters(TWO) == BatchingParameters()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("no parameters", "Invalid protobuf file: "),
    ],
)
def test_a_version_with_wrong_parameters_is_not_loaded(tmp_path: Path, text: str, error: str) -> None:
    path = str(write_parameters(tmp_path / "1", text))
    options = ServerOptions(enable_batching=True, enable_per_model_batching_parameters=True)
    version = SmallVersion()
    versions = Versions(SmallPlatforms(**{path: version}), options)
    with pytest.raises(ServingError) as caught:
        load(versions, ONE, path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(error)
    assert version.unloaded
    assert versions.find(ONE) is None


def test_wrong_parameters_of_the_server_fail_every_version(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text("batch_timeout_micros { value: -1 }")
    options = ServerOptions(enable_batching=True, batching_parameters_file=str(file))
    versions = Versions(SmallPlatforms(path=SmallVersion()), options)
    with pytest.raises(ServingError, match="batch_timeout_micros must be non-negative; was -1"):
        load(versions, ONE, "path")
    file.write_text("nothing that can be read")
    with pytest.raises(ServingError, match="Invalid protobuf file"):
        Versions(SmallPlatforms(), options)


def test_what_is_known_waits_for_no_probe() -> None:
    slow, begun, gate = held_up()
    versions = versions_of(known=SmallVersion(), slow=slow)
    load(versions, ONE, "known")
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, versions, TWO, "slow")
        assert begun.wait(LIMIT)
        assert versions.declared(ONE, DEFAULT_SIGNATURE).batched
        assert not loading.done()
        gate.set()
        loading.result(LIMIT)


def test_so_many_forms_are_known_at_a_time() -> None:
    version = SmallVersion()
    version.changing = True  # so that none is run
    versions = versions_of(one=version)
    load(versions, ONE, "one")
    forms = [((1, Column("<f4", (size,))),) for size in range(1000)]
    reports = [versions.report(ONE, DEFAULT_SIGNATURE, form) for form in forms]
    assert versions.report(ONE, DEFAULT_SIGNATURE, forms[-1]) is reports[-1]
    assert versions.report(ONE, DEFAULT_SIGNATURE, forms[0]) is not reports[0]
    assert len(versions._held[ONE].reports) <= 256


def test_what_is_held_is_not_loaded_again() -> None:
    version, other = SmallVersion(), SmallVersion()
    versions = versions_of(path=version, other=other)
    load(versions, ONE, "path")
    for second in (lambda: load(versions, ONE, "other"), lambda: versions.put_absent(ONE, "why")):
        with pytest.raises(ServingError, match=r"holds .* already") as caught:
            second()
        assert caught.value.code == Code.ALREADY_EXISTS
    assert versions.get(ONE) is version
    assert (version.unloaded, other.unloaded) == (False, False)


def test_what_is_being_loaded_is_not_loaded_again_and_unloaded_after() -> None:
    slow, begun, gate = held_up()
    versions = versions_of(slow=slow, other=SmallVersion())
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(load, versions, ONE, "slow")
        assert begun.wait(LIMIT)
        with pytest.raises(ServingError, match="is loading it"):
            load(versions, ONE, "other")
        unloading = pool.submit(versions.unload, ONE)
        assert not wait([unloading], timeout=0.05).done
        gate.set()
        loading.result(LIMIT)
        unloading.result(LIMIT)
    assert slow.unloaded
    assert versions.find(ONE) is None


def test_several_load_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.versions._PROBE_WAIT_SECONDS", 0.01)
    slow, begun, gate = held_up()
    versions = versions_of(slow=slow, quick=SmallVersion())
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, versions, ONE, "slow")
        assert begun.wait(LIMIT)
        load(versions, TWO, "quick")
        assert not loading.done()
        gate.set()
        loading.result(LIMIT)


def test_a_warm_up_that_fails_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    version = SmallVersion()
    versions = versions_of(path=version)

    def fails(*_: object) -> WarmUp:
        raise ServingError(Code.INVALID_ARGUMENT, "bad record")

    monkeypatch.setattr("workers.versions.warm_up", fails)
    with pytest.raises(ServingError, match="bad record"):
        load(versions, ONE, "path")
    assert version.unloaded
    assert versions.find(ONE) is None
    monkeypatch.undo()
    version.unloaded = False
    assert load(versions, ONE, "path") is version, "another attempt finds nothing in its way"


def test_the_warm_up_learns_how_signatures_take_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Report] = []

    def warms(
        version: LoadedVersion,
        path: str,
        options: ServerOptions,
        recorded: RecordedRequests,
        plan: Callable[[str], tuple[Report, Limits]],
    ) -> WarmUp:
        assert (version, path, options.enable_model_warmup) == (small, "path", False)
        report, limits = plan(DEFAULT_SIGNATURE)
        assert limits.joins
        seen.append(report)
        return WarmUp("file", 3, 0.5)

    monkeypatch.setattr("workers.versions.warm_up", warms)
    small = SmallVersion()
    versions = versions_of(path=small)
    version, warmed = versions.load(ONE, "path", "small", {})
    assert (version, warmed) == (small, WarmUp("file", 3, 0.5))
    assert seen == [versions.declared(ONE, DEFAULT_SIGNATURE)]


def test_an_unload_that_fails_leaves_nothing() -> None:
    version = SmallVersion()

    class Failing(SmallPlatforms):
        def load(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> Loaded:
            def fail() -> None:
                raise ServingError(Code.INTERNAL, "stuck")

            return Loaded(version, fail)

    versions = Versions(Failing(), ServerOptions(enable_model_warmup=False))
    load(versions, ONE, "path")
    with pytest.raises(ServingError, match="stuck"):
        versions.unload(ONE)
    assert versions.find(ONE) is None
    load(versions, ONE, "path")


def test_estimates_come_from_the_platform() -> None:
    assert versions_of().estimate(ONE, "12345", "small", {}) == 5
