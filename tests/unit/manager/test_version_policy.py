"""Version policies: which folder names are versions, and which of these each policy chooses, in its order."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from manager.version_policy import every, latest, parse_version, parse_versions, policy_from_proto, specific
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
    assert latest(1)(found) == [(1, "1")]
    assert specific([1])(found) == [(1, "1")]
    assert every()(found) == [(1, "001")]


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


found = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3)).map(lambda pair: "0" * pair[1] + str(pair[0])), unique=True
).map(parse_versions)


@given(found, st.integers(1, 5), st.sets(st.integers(0, 30)))
def test_policies_choose_no_version_twice_and_none_that_is_not_there(
    found: list[tuple[int, str]], count: int, wanted: set[int]
) -> None:
    there = {version for version, _ in found}
    chosen = latest(count)(found)
    assert [version for version, _ in chosen] == sorted(there, reverse=True)[:count]
    some = specific(sorted(wanted))(found)
    assert [version for version, _ in some] == sorted(there & wanted)
    everything = every()(found)
    assert sorted(version for version, _ in everything) == sorted(there)
    assert [name for _, name in everything] == sorted(name for _, name in everything)
    assert {*chosen, *some, *everything} <= set(found)
