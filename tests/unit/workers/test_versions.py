"""The versions that a worker holds, and what is known of their signatures."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest
from small_version import LIMIT, Array, SmallVersion

from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import Column
from workers.probe import Report
from workers.versions import Inputs, Versions

ONE, TWO = ServableId("small", 1), ServableId("small", 2)
DOUBLES: Inputs = ((2, Column("<f8", ())),)


class SmallEngine:
    """Loads what was prepared for a path, an error included."""

    def __init__(self, **paths: SmallVersion | ServingError) -> None:
        self._paths = paths

    def load(self, path: str) -> SmallVersion:
        found = self._paths[path]
        if isinstance(found, ServingError):
            raise found
        return found


def test_a_loaded_version_is_known_with_its_default_signature() -> None:
    version = SmallVersion()
    versions = Versions(SmallEngine(path=version))
    assert versions.load(ONE, "path") is version
    assert versions.get(ONE) is version
    runs = version.runs
    assert runs > 0
    assert versions.declared(ONE, DEFAULT_SIGNATURE).batched
    assert versions.report(ONE, DEFAULT_SIGNATURE, (version.column,)) == versions.declared(ONE, DEFAULT_SIGNATURE)
    assert version.runs == runs, "probed once"


def test_a_load_that_fails_leaves_nothing() -> None:
    error = ServingError(Code.DATA_LOSS, "no model")
    versions = Versions(SmallEngine(path=error))
    with pytest.raises(ServingError) as caught:
        versions.load(ONE, "path")
    assert caught.value is error
    with pytest.raises(ServingError, match="does not hold"):
        versions.get(ONE)


@pytest.mark.parametrize("inputs", [None, DOUBLES])
def test_what_is_not_held_is_not_found(inputs: Inputs | None) -> None:
    versions = Versions(SmallEngine(path=SmallVersion()))
    versions.load(ONE, "path")
    with pytest.raises(ServingError) as caught:
        if inputs is None:
            versions.declared(TWO, DEFAULT_SIGNATURE)
        else:
            versions.report(TWO, DEFAULT_SIGNATURE, inputs)
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, f"This worker does not hold {TWO}")


def test_unload_forgets_one_version_and_no_other() -> None:
    one, two = SmallVersion(), SmallVersion()
    versions = Versions(SmallEngine(one=one, two=two))
    versions.load(ONE, "one")
    versions.load(TWO, "two")
    versions.unload(ONE)
    assert (one.unloaded, two.unloaded) == (True, False)
    with pytest.raises(ServingError):
        versions.declared(ONE, DEFAULT_SIGNATURE)
    assert versions.declared(TWO, DEFAULT_SIGNATURE).batched
    versions.unload(ONE)  # again: nothing is left to do


def test_a_version_that_comes_again_is_probed_again() -> None:
    again = SmallVersion()
    versions = Versions(SmallEngine(first=SmallVersion(), again=again))
    versions.load(ONE, "first")
    versions.unload(ONE)
    versions.load(ONE, "again")
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
    versions = Versions(SmallEngine(path=version))
    versions.load(ONE, "path")
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


def test_what_is_known_waits_for_no_probe() -> None:
    slow, begun, gate = held_up()
    versions = Versions(SmallEngine(known=SmallVersion(), slow=slow))
    versions.load(ONE, "known")
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(versions.load, TWO, "slow")
        assert begun.wait(LIMIT)
        assert versions.declared(ONE, DEFAULT_SIGNATURE).batched
        assert not loading.done()
        gate.set()
        loading.result(LIMIT)
