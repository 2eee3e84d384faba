"""--grpc_channel_arguments: what upstream understands, and errors where it crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.channel_arguments import parse_channel_arguments
from ringserve.errors import Code, ServingError


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", []),
        (" ", []),
        (  # of upstream's own test
            "grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb,grpc.so_reuseaddr=1",
            [("grpc.max_connection_age_ms", 2000), ("grpc.lb_policy_name", "grpclb"), ("grpc.so_reuseaddr", 1)],
        ),
        ("a=1,b=-1,c=007,d=+5", [("a", 1), ("b", -1), ("c", 7), ("d", 5)]),
        (
            "a=1.5,b=0x10,c=,d=1e3,e=--1,f=1 0",
            [("a", "1.5"), ("b", "0x10"), ("c", ""), ("d", "1e3"), ("e", "--1"), ("f", "1 0")],
        ),
        (" a = 1 ,\tb = x y ", [("a", 1), ("b", "x y")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1,b=2,a=3", [("a", 3), ("b", 2)]),
        ("a=2147483647,b=-2147483648", [("a", 2147483647), ("b", -2147483648)]),
        (f"a={'0' * 5000}5", [("a", 5)]),
        ("a=\u0663", [("a", "\u0663")]),  # a digit, and no ASCII one
    ],
)
def test_the_arguments(text: str, arguments: list[tuple[str, int | str]]) -> None:
    assert parse_channel_arguments(text) == arguments


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("grpc.max_connection_age_ms", "'grpc.max_connection_age_ms' is not key=value"),
        ("a=1,b", "'b' is not key=value"),
        ("a=1,", "'' is not key=value"),
        (",", "'' is not key=value"),
        ("a=1,,b=2", "'' is not key=value"),
        ("=1", "'=1' is not key=value"),
        ("a=\udcff", "'a=\\udcff' is not text"),
        ("a=2147483648", "a must fit into 32 bits"),
        ("a=-2147483649", "a must fit into 32 bits"),
        (f"a={'9' * 5000}", "a must fit into 32 bits"),
        ("grpc.authorization_policy_provider=1", "grpc.authorization_policy_provider can't be set by a flag"),
    ],
)
def test_what_is_refused(text: str, what: str) -> None:
    with pytest.raises(ServingError) as caught:
        parse_channel_arguments(text)
    error = caught.value
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, f"server_options.grpc_channel_arguments: {what}.")


@given(st.text(alphabet="a=,-+ 0129.\n\udc80", max_size=30))
def test_any_text_is_arguments_or_an_error(text: str) -> None:
    try:
        arguments = parse_channel_arguments(text)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
    else:
        assert all(key and key == key.strip() for key, _ in arguments)
        assert len({key for key, _ in arguments}) == len(arguments)
