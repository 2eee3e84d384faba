"""Labels that split their requests: shares by weight, keys that stay, and that move no more than they must."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.labels import Label

KEYS = [f"user-{number}" for number in range(4000)]
Split = dict[int, float]

weights = st.floats(1, 100)
splits = st.dictionaries(st.integers(0, 2**63 - 1), weights, min_size=1, max_size=5)


def label(split: Split, name: str = "prod", model: str = "m") -> Label:
    return Label(model, name, list(split.items()), Random(7).random)


def by_key(split: Split, keys: list[str] = KEYS) -> list[int]:
    made = label(split)
    return [made.pick(key, split) for key in keys]


def check_shares(picked: list[int], split: Split) -> None:
    """Six standard deviations: one in hundreds of millions is further off."""
    for version, weight in split.items():
        share = weight / sum(split.values())
        spread = math.sqrt(share * (1 - share) / len(picked))
        assert abs(picked.count(version) / len(picked) - share) <= 6 * spread + 1e-9, version


@pytest.mark.parametrize("split", [{1: 95.0, 2: 5.0}, {1: 1.0, 2: 1.0, 3: 2.0}, {7: 0.001, 8: 0.003}, {3: 1.0}])
def test_shares(split: Split) -> None:
    check_shares(by_key(split), split)
    made = label(split)
    check_shares([made.pick(None, split) for _ in KEYS], split)


@settings(deadline=None, max_examples=15)
@given(splits)
def test_any_shares(split: Split) -> None:
    check_shares(by_key(split), split)


def test_what_a_key_gets_is_fixed() -> None:
    """For ever: front ends of another release must agree, while one replaces the other."""
    split = {1: 50.0, 2: 50.0}
    assert by_key(split, ["a", "b", "c", "d", "é", "\udcff", "x" * 8000]) == [1, 2, 1, 1, 2, 1, 2]
    assert by_key(split) == by_key(split) == by_key(dict(reversed(split.items()))) == by_key({1: 0.5, 2: 0.5})


def test_labels_and_models_split_independently() -> None:
    split = {1: 50.0, 2: 50.0}
    for other in (label(split, "other"), label(split, model="n"), label(split, "rod", "mp")):
        same = sum(other.pick(key, split) == picked for key, picked in zip(KEYS, by_key(split), strict=True))
        assert 0.45 < same / len(KEYS) < 0.55


@settings(deadline=None, max_examples=15)
@given(splits, st.data())
def test_a_heavier_version_takes_its_share_and_nothing_else_moves(split: Split, data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(sorted(split)) | st.integers(0, 2**63 - 1))
    heavier = {**split, version: split.get(version, 0.0) + data.draw(weights)}
    before, after = by_key(split), by_key(heavier)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) <= {version}
    grown = heavier[version] / sum(heavier.values()) - split.get(version, 0.0) / sum(split.values())
    assert abs(len(moved) / len(KEYS) - grown) <= 6 * math.sqrt(grown / len(KEYS)) + 1e-9


@settings(deadline=None, max_examples=15)
@given(st.dictionaries(st.integers(0, 9), weights, min_size=2, max_size=5), st.data())
def test_what_is_not_loaded_leaves_its_share_to_the_others_by_weight(split: Split, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(split)))
    loaded = {version: weight for version, weight in split.items() if version != gone}
    made = label(split)
    after = [made.pick(key, loaded) for key in KEYS]
    assert all(new == old for old, new in zip(by_key(split), after, strict=True) if old != gone)
    check_shares(after, loaded)
    check_shares([made.pick(None, loaded) for _ in KEYS], loaded)


def test_nothing_loaded() -> None:
    """The version that it would be, which the refusal names."""
    split = {1: 50.0, 2: 50.0}
    made = label(split)
    assert [made.pick(key, ()) for key in KEYS] == by_key(split)
    assert label({4: 1.0}).pick(None, ()) == 4


def test_no_weight_no_requests() -> None:
    split = {1: 0.0, 2: 1.0, 3: 0.0}
    assert set(by_key(split)) == {2}
    assert label(split).pick("a", (1, 3)) == 2
    with pytest.raises(ValueError, match="prod"):
        label({1: 0.0})
    with pytest.raises(ValueError, match="prod"):
        label({})


@pytest.mark.parametrize("number", [0.0, 0.5, math.nextafter(1, 0)])
def test_chance_at_its_ends(number: float) -> None:
    assert Label("m", "prod", [(1, 1.0), (2, 3.0)], lambda: number).pick(None, (1, 2)) in (1, 2)
