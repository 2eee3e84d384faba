"""The policies: upstream's cases one by one, and their promises for any state at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.aspired_version_policy import (
    POLICIES,
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
    Snapshot,
    Step,
    Verb,
)
from manager.loader_harness import HarnessState
from ringserve.options import ASPIRED_VERSION_POLICIES
from ringserve.servable import ServableId

NEW, LOADING, READY = HarnessState.NEW, HarnessState.LOADING, HarnessState.READY
QUIESCING, ERROR, DISABLED = HarnessState.QUIESCING, HarnessState.ERROR, HarnessState.DISABLED
UNLOAD_REQUESTED = HarnessState.UNLOAD_REQUESTED
WANTED, UNWANTED = True, False

Given = tuple[int, HarnessState, bool]


def snapshots(versions: list[Given]) -> list[Snapshot]:
    return [Snapshot(ServableId("m", version), state, aspired) for version, state, aspired in versions]


def next_step(*versions: Given, policy: AspiredVersionPolicy | None = None) -> tuple[Verb, int] | None:
    step = (policy or AvailabilityPreservingPolicy()).next_step(snapshots(list(versions)))
    return (step.verb, step.id.version) if step else None


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param([], None, id="nothing there"),
        pytest.param([(1, NEW, WANTED), (2, NEW, WANTED)], (Verb.LOAD, 2), id="the highest new one is loaded"),
        pytest.param([(2, NEW, WANTED), (10, NEW, WANTED)], (Verb.LOAD, 10), id="as numbers, not as texts"),
        pytest.param([(1, NEW, UNWANTED)], None, id="what nobody wants is not loaded"),
        pytest.param([(1, READY, UNWANTED), (2, NEW, WANTED)], (Verb.LOAD, 2), id="the only one ready stays for now"),
        pytest.param([(1, READY, UNWANTED), (2, LOADING, WANTED)], None, id="and while the new one loads"),
        pytest.param([(1, READY, UNWANTED), (2, ERROR, WANTED)], None, id="and when the new one is bad"),
        pytest.param([(1, READY, UNWANTED), (2, READY, WANTED)], (Verb.UNLOAD, 1), id="and goes when it is ready"),
        pytest.param(
            [(1, READY, UNWANTED), (2, READY, WANTED), (3, NEW, WANTED)], (Verb.UNLOAD, 1), id="unloads come before loads"
        ),
        pytest.param(
            [(1, READY, UNWANTED), (2, READY, WANTED), (3, LOADING, WANTED)],
            (Verb.UNLOAD, 1),
            id="one ready one is enough, another may load",
        ),
        pytest.param(
            [(1, READY, UNWANTED), (2, READY, WANTED), (3, ERROR, WANTED)], (Verb.UNLOAD, 1), id="or may have failed"
        ),
        pytest.param(
            [(2, READY, UNWANTED), (1, READY, UNWANTED), (3, NEW, WANTED)],
            (Verb.UNLOAD, 1),
            id="of two unwanted ones the lowest goes before anything is loaded",
        ),
        pytest.param([(1, READY, UNWANTED), (2, READY, UNWANTED)], (Verb.UNLOAD, 1), id="nothing is wanted: all go"),
        pytest.param([(1, READY, UNWANTED)], (Verb.UNLOAD, 1), id="the last one too"),
        pytest.param([(1, QUIESCING, UNWANTED), (2, DISABLED, UNWANTED)], None, id="what is on its way is left alone"),
        pytest.param([(1, READY, WANTED), (2, ERROR, WANTED)], None, id="what failed is not tried again"),
    ],
)
def test_next_step(versions: list[Given], expected: tuple[Verb, int] | None) -> None:
    assert next_step(*versions) == expected
    assert next_step(*reversed(versions)) == expected, "the order of the versions does not matter"


stream = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(HarnessState), st.booleans()), unique_by=lambda given: given[0]
)


@given(stream)
def test_a_step_never_takes_the_last_ready_version_while_one_is_wanted(versions: list[Given]) -> None:
    step = next_step(*versions)
    if step is None or step[0] is not Verb.UNLOAD:
        return
    by_version = {version: (state, aspired) for version, state, aspired in versions}
    assert by_version[step[1]] == (READY, UNWANTED)
    others_ready = any(state is READY for version, (state, _) in by_version.items() if version != step[1])
    assert others_ready or not any(aspired for _, aspired in by_version.values())


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param([], None, id="nothing there"),
        pytest.param(
            [(2, READY, UNWANTED), (1, READY, UNWANTED), (3, NEW, WANTED)], (Verb.UNLOAD, 2), id="unloads the first given"
        ),
        pytest.param([(1, READY, UNWANTED), (2, NEW, WANTED)], (Verb.UNLOAD, 1), id="the only one ready too"),
        pytest.param([(2, NEW, WANTED), (10, NEW, WANTED), (1, READY, WANTED)], (Verb.LOAD, 10), id="the highest new one"),
        pytest.param([(1, UNLOAD_REQUESTED, UNWANTED), (2, NEW, WANTED)], None, id="while one is on its way out, none"),
        pytest.param([(1, LOADING, UNWANTED), (2, NEW, WANTED)], None, id="nor while an unwanted one loads"),
        pytest.param([(1, NEW, UNWANTED), (2, NEW, WANTED)], None, id="nor while one is to be forgotten"),
        pytest.param([(1, ERROR, UNWANTED), (2, UNLOAD_REQUESTED, UNWANTED), (3, NEW, WANTED)], None, id="whatever else is"),
        pytest.param([(1, ERROR, UNWANTED), (2, NEW, WANTED)], (Verb.LOAD, 2), id="a failed one holds nothing"),
        pytest.param(
            [(1, ERROR, UNWANTED), (2, DISABLED, UNWANTED), (3, NEW, WANTED)], (Verb.LOAD, 3), id="nor one that has gone"
        ),
        pytest.param([(1, READY, WANTED), (2, ERROR, WANTED)], None, id="what failed is not tried again"),
    ],
)
def test_next_step_to_spare_memory(versions: list[Given], expected: tuple[Verb, int] | None) -> None:
    assert next_step(*versions, policy=ResourcePreservingPolicy()) == expected


def test_a_policy_for_each_value_of_the_flag() -> None:
    assert tuple(POLICIES) == ASPIRED_VERSION_POLICIES


either = st.sampled_from(list(POLICIES.values()))


@given(stream, either)
def test_a_load_is_of_a_new_version_that_is_wanted(versions: list[Given], policy: AspiredVersionPolicy) -> None:
    step = next_step(*versions, policy=policy)
    if step is not None and step[0] is Verb.LOAD:
        assert (step[1], NEW, WANTED) in versions


@given(stream)
def test_to_spare_memory_nothing_is_loaded_beside_what_goes(versions: list[Given]) -> None:
    step = next_step(*versions, policy=ResourcePreservingPolicy())
    if step is not None and step[0] is Verb.LOAD:
        assert all(aspired or state in (DISABLED, ERROR) for _, state, aspired in versions)


@given(stream)
def test_steps_taken_one_after_the_other_come_to_an_end_with_what_is_wanted(versions: list[Given]) -> None:
    """If every step went well at once, nothing unwanted would stay unless it is all that there is."""
    policy = AvailabilityPreservingPolicy()
    now = {snapshot.id: snapshot for snapshot in snapshots(versions)}
    for _ in range(2 * len(versions) + 1):
        step = policy.next_step(list(now.values()))
        if step is None:
            break
        now[step.id] = now[step.id]._replace(state=READY if step.verb is Verb.LOAD else DISABLED)
    else:
        pytest.fail(f"no end of steps: {step}")
    assert not any(each.aspired and each.state is NEW for each in now.values())
    if any(each.aspired and each.state is READY for each in now.values()) or not any(each.aspired for each in now.values()):
        assert not any(each.state is READY and not each.aspired for each in now.values())


def test_a_step_says_what_it_does() -> None:
    assert AvailabilityPreservingPolicy().next_step(snapshots([(1, NEW, WANTED)])) == Step(Verb.LOAD, ServableId("m", 1))
