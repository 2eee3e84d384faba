"""Version policies: which folder names are versions, and which of these each policy chooses, in its order."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from manager.version_policy import (
    AllPolicy,
    LatestPolicy,
    SpecificPolicy,
    ignored,
    parse_version,
    parse_versions,
    policy_from_proto,
)
from ringserve.protos import message_module

CHILDREN = ("1", "2", "03", "10", "tmp", "10.bak")


def policy_text(text: str) -> Any:
    """A policy as a model config file writes it."""
    model = message_module("tensorflow_serving.config.model_server_config_pb2").ModelConfig()
    return text_format.Parse(f"model_version_policy {{ {text} }}" if text else "", model).model_version_policy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["10"]),
        ("latest {}", ["10"]),
        ("latest { num_versions: 0 }", ["10"]),
        ("latest { num_versions: 2 }", ["10", "03"]),
        ("latest { num_versions: 99 }", ["10", "03", "2", "1"]),
        ("all {}", ["03", "1", "10", "2"]),
        ("specific { versions: 2 versions: 10 }", ["2", "10"]),
        ("specific { versions: 10 versions: 3 }", ["03", "10"]),
        ("specific { versions: 10 versions: 10 }", ["10"]),
        ("specific { versions: 7 }", []),
        ("specific {}", []),
    ],
)
def test_what_a_policy_chooses(text: str, expected: list[str]) -> None:
    chosen = policy_from_proto(policy_text(text))(parse_versions(CHILDREN))
    assert [name for _, name in chosen] == expected
    assert [version for version, _ in chosen] == [int(name) for name in expected]


@pytest.mark.parametrize("names", [("1", "001"), ("001", "1")])
def test_of_several_names_for_one_number_one_is_chosen(names: tuple[str, ...]) -> None:
    found = parse_versions(names)
    assert LatestPolicy(1)(found) == [(1, "1")]
    assert SpecificPolicy((1,))(found) == [(1, "1")]
    assert AllPolicy()(found) == [(1, "001")]
    assert ignored(found, [(1, "1")]) == [((1, "1"), "001")]
    assert ignored(found, []) == []


def test_policies_that_choose_alike_are_equal() -> None:
    texts = ["latest { num_versions: 2 }", "all {}", "specific { versions: 2 versions: 10 }"]
    policies = [policy_from_proto(policy_text(text)) for text in texts]
    assert policies == [policy_from_proto(policy_text(text)) for text in texts]
    assert len({*policies, LatestPolicy(1), SpecificPolicy((2,))}) == 5
    assert policy_from_proto(policy_text("")) == policy_from_proto(policy_text("latest {}")) == LatestPolicy(1)


def test_specific_versions_that_are_missing() -> None:
    assert SpecificPolicy((7, 2, 7, 5)).missing([(2, "2")]) == [7, 5]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("0", 0),
        ("00017", 17),
        ("20170111173521", 20170111173521),
        ("+5", 5),
        ("-5", -5),
        (" 7\t", 7),
        ("9223372036854775807", (1 << 63) - 1),
        ("-9223372036854775808", -(1 << 63)),
    ],
)
def test_names_that_are_versions(name: str, version: int) -> None:
    assert parse_version(name) == version


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "1.0",
        pytest.param("0" * 5000 + "1", id="longer than any name"),
        "1e3",
        "0x1",
        "v1",
        "1v",
        "1 2",
        "1_000",
        "--1",
        "+",
        "9223372036854775808",
        "9" * 255,
        "\u0661",
        "1\u00a0",
    ],
)
def test_names_that_are_no_versions(name: str) -> None:
    assert parse_version(name) is None


SPACES = " \t\n\v\f\r"


def plainly(name: str) -> int | None:
    """What a folder's name means, a character at a time."""
    text = name.strip(SPACES)
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or any(digit not in "0123456789" for digit in digits):
        return None
    version = 0
    for digit in digits:
        version = 10 * version + "0123456789".index(digit)
    return sign * version if -(1 << 63) <= sign * version < 1 << 63 else None


near_numbers = st.tuples(
    st.text(SPACES, max_size=2),
    st.sampled_from(["", "+", "-", "--", "0x"]),
    st.one_of(st.integers(0, 1 << 65).map(str), st.text("0123456789._eE\u0661 ", max_size=25)),
    st.text(SPACES + "\x00\u00a0/", max_size=2),
).map("".join)


@given(st.one_of(near_numbers, st.text(max_size=8)))
def test_names_are_parsed_as_the_plain_rule_says(name: str) -> None:
    assert parse_version(name) == plainly(name)


@given(st.lists(near_numbers, max_size=8))
def test_versions_come_in_lexicographic_order_of_their_names(names: list[str]) -> None:
    assert parse_versions(names) == [(version, name) for name in sorted(names) if (version := plainly(name)) is not None]


found = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3)).map(lambda pair: "0" * pair[1] + str(pair[0])), unique=True
).map(parse_versions)


@given(found, st.integers(1, 5), st.sets(st.integers(0, 30)))
def test_policies_choose_no_version_twice_and_none_that_is_not_there(
    found: list[tuple[int, str]], count: int, wanted: set[int]
) -> None:
    there = {version for version, _ in found}
    chosen = LatestPolicy(count)(found)
    assert [version for version, _ in chosen] == sorted(there, reverse=True)[:count]
    some = SpecificPolicy(tuple(sorted(wanted)))(found)
    assert [version for version, _ in some] == sorted(there & wanted)
    everything = AllPolicy()(found)
    assert sorted(version for version, _ in everything) == sorted(there)
    assert [name for _, name in everything] == sorted(name for _, name in everything)
    assert {*chosen, *some, *everything} <= set(found)
