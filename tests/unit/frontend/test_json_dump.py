"""Values in error texts: upstream's layout, and where it stops."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.rest.json_dump import dump

NESTED = """{
    "a": [1, 2.5, null, true, "é"],
    "b": {},
    "c": [],
    "d": {
        "e": false,
        "f": [{
                "g": 1,
                "h": {}
            }, [2]]
    }
}"""


def test_layout() -> None:
    assert dump(json.loads(NESTED)) == NESTED
    assert dump([]) == "[]"
    assert dump({}) == "{}"
    assert dump([[], {}, [{}]]) == "[[], {}, [{}]]"
    assert dump([{"a": 1}]) == '[{\n        "a": 1\n    }]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (100.0, "100.0"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (123456789.125, "123456789.125"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.5e300, "1.5e300"),
        (0.000001, "0.000001"),
        (0.0000015, "0.0000015"),
        (0.0000001, "1e-7"),
        (-1.25e-9, "-1.25e-9"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (7, "7"),
        (-(1 << 63), "-9223372036854775808"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
    ],
)
def test_scalars(value: Any, text: str) -> None:
    assert dump(value) == text


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_come_back(value: float) -> None:
    assert math.copysign(1, float(dump(value))) == math.copysign(1, value)
    assert float(dump(value)) == value


def test_texts() -> None:
    assert dump('"\\/\b\f\n\r\t\0\x1f\x7fé') == '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001F\x7fé"'
    assert dump("\udcff") == '"\udcff"'  # a byte that is no UTF-8


def test_numbers_that_are_not_finite_end_it() -> None:
    for value in (math.nan, math.inf, -math.inf):
        assert dump(value) == ""
        assert dump([1.0, value, 2]) == "[1.0, "
        assert dump({"a": value, "b": 1}) == '{\n    "a": '


def test_nothing_is_begun_after_256_bytes() -> None:
    assert dump(list(range(1000))) == str(list(range(1000)))[: len(dump(list(range(1000))))]
    assert 256 <= len(dump(list(range(1000)))) < 262
    assert dump(["x" * 1000, 1]) == '["' + "x" * 1000 + '"'  # a text is not cut
    assert len(dump(["é"] * 200).encode()) < 264
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert dump(deep) == "[" * 256
    large = {str(number): list(range(100)) for number in range(100_000)}
    assert len(dump(large)) < 300


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(values)
def test_short_values_are_whole(value: Any) -> None:
    text = dump(value)
    if len(text.encode("utf-8", "surrogatepass")) < 256:
        assert repr(json.loads(text)) == repr(value)
