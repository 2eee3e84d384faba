"""JSON objects to tf.Examples: kinds, every refusal's text, and contexts."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from example_messages import example, features, parsed
from hypothesis import given
from hypothesis import strategies as st

from frontend.rest import json_examples
from frontend.rest.json_document import parse_document
from frontend.rest.json_dump import dump
from frontend.rest.json_examples import examples_from_document
from ringserve.errors import Code, ServingError

MOST = 1 << 20


def examples(body: str | dict[str, Any], most_bytes: int = MOST) -> list[bytes]:
    text = body if isinstance(body, str) else json.dumps(body)
    return examples_from_document(parse_document(text.encode("utf-8", "surrogateescape"), last_inside=True), most_bytes)


def feature(text: str) -> tuple[str | None, list[Any]]:
    (made,) = examples(f'{{"examples": [{{"x": {text}}}]}}')
    return features(made)["x"]


def refusal(body: str | dict[str, Any]) -> str:
    with pytest.raises(ServingError) as caught:
        examples(body)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def feature_refusal(text: str) -> str:
    message = refusal(f'{{"examples": [{{"x": {text}}}]}}')
    assert refusal(f'{{"context": {{"x": {text}}}, "examples": [{{}}]}}') == message
    return message


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("2.0", "float_list", [2.0]),
        ("1e2", "float_list", [100.0]),
        ("[1.0, 2.5]", "float_list", [1.0, 2.5]),
        ("1e300", "float_list", [math.inf]),
        ("[0.0, -1e300]", "float_list", [0.0, -math.inf]),
        ("Infinity", "float_list", [math.inf]),
        ("[-Infinity, 1.0]", "float_list", [-math.inf, 1.0]),
        ("18446744073709551616", "float_list", [2.0**64]),
        ("-9223372036854775809", "float_list", [-(2.0**63)]),
        ("[1.0, 18446744073709551616]", "float_list", [1.0, 2.0**64]),
        ("2", "int64_list", [2]),
        ("-0", "int64_list", [0]),
        ("[1, -2, 300]", "int64_list", [1, -2, 300]),
        ("9223372036854775807", "int64_list", [(1 << 63) - 1]),
        ("-9223372036854775808", "int64_list", [-(1 << 63)]),
        ("true", "int64_list", [1]),
        ("[false, true]", "int64_list", [0, 1]),
        ("[1, true, 3]", "int64_list", [1, 1, 3]),
        ('"a"', "bytes_list", [b"a"]),
        ('""', "bytes_list", [b""]),
        ('["a", "é"]', "bytes_list", [b"a", "é".encode()]),
        ('"a\\u0000b"', "bytes_list", [b"a\0b"]),
        ('{"b64": "AP8="}', "bytes_list", [b"\0\xff"]),
        ('["a", {"b64": "AP8"}, "c"]', "bytes_list", [b"a", b"\0\xff", b"c"]),
        ('"\udcff"', "bytes_list", [b"\xff"]),
        ("[]", None, []),
    ],
)
def test_what_kind_a_feature_is(text: str, kind: str | None, values: list[Any]) -> None:
    assert feature(text) == (kind, values)


@pytest.mark.parametrize("text", ["NaN", "[NaN]", "[1.0, NaN]", "-NaN"])
def test_not_a_number(text: str) -> None:
    kind, values = feature(text)
    assert kind == "float_list"
    assert math.isnan(values[-1])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[1, 2.0]", "int64"),
        ("[1.0, 2]", "float"),
        ("[true, 2.0]", "int64"),
        ("[1.0, false]", "float"),
        ('["a", 1]', "bytes"),
        ('[1, "a"]', "int64"),
        ('[1.0, {"b64": "YQ=="}]', "float"),
        ('[{"b64": "YQ=="}, 1.0]', "bytes"),
        ("[1.0, 9223372036854775808]", "float"),
        ('["a", 9223372036854775808]', "bytes"),
        ("[1, 18446744073709551616]", "int64"),
        ('[1, {"b64": "!"}]', "int64"),
    ],
)
def test_kinds_that_do_not_mix(text: str, kind: str) -> None:
    assert feature_refusal(text) == f"Unexpected element type in feature: x expecting type: {kind}"


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "18446744073709551615", "[9223372036854775808]", "[1, true, 9223372036854775808]"]
)
def test_integers_without_a_sign_of_64_bits(text: str) -> None:
    assert feature_refusal(text) == "Feature: x has uint64_t element. Only int64_t is supported."


@pytest.mark.parametrize(
    ("good", "last", "text"),
    [
        (1, 1 << 63, "Feature: x has uint64_t element. Only int64_t is supported."),
        (1, 1.5, "Unexpected element type in feature: x expecting type: int64"),
        (1.5, 1, "Unexpected element type in feature: x expecting type: float"),
        ({"b64": "YQ=="}, "a", None),
        ({"b64": "YQ=="}, {"b64": "!"}, "Unable to base64 decode"),
        ("a", None, "Feature: x has element with unexpected JSON type: Null"),
    ],
)
def test_the_last_of_many(good: Any, last: Any, text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked for one by one."""
    looks = []

    def counted(values: list[Any], kind: str) -> list[Any] | None:
        looks.append(len(values))
        return elements(values, kind)

    elements = json_examples._elements
    monkeypatch.setattr(json_examples, "_elements", counted)
    feature = json.dumps([good] * 4000 + [last])
    if text is None:
        assert len(examples(f'{{"examples": [{{"x": {feature}}}]}}')) == 1
    else:
        assert refusal(f'{{"examples": [{{"x": {feature}}}]}}') == text
    assert len(looks) < 20
    assert sum(looks) < 9000


def test_one_of_many_integers_is_too_large() -> None:
    assert feature_refusal(json.dumps([1] * 100 + [1 << 63])).endswith("Only int64_t is supported.")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("null", "Null"),
        ("[null]", "Null"),
        ("[1.0, null]", "Null"),
        ("[[1.0]]", "Array"),
        ("[1.0, []]", "Array"),
        ("{}", "Object"),
        ('[{"b64": 1}]', "Object"),
        ('{"b64": "YQ==", "more": 1}', "Object"),
        ('{"c64": "YQ=="}', "Object"),
        ('[1, {"a": 1}]', "Object"),
        ('["a", {"a": [[]]}]', "Object"),
    ],
)
def test_elements_of_no_kind(text: str, named: str) -> None:
    assert feature_refusal(text) == f"Feature: x has element with unexpected JSON type: {named}"


@pytest.mark.parametrize("text", ['{"b64": "!"}', '["a", {"b64": "YQ="}]'])
def test_bytes_that_are_no_base64(text: str) -> None:
    assert feature_refusal(text) == "Unable to base64 decode"


def test_what_is_wrong_first_is_told() -> None:
    assert feature_refusal('[1, "a", null]') == "Unexpected element type in feature: x expecting type: int64"
    assert feature_refusal('[1, null, "a"]') == "Feature: x has element with unexpected JSON type: Null"
    body = '{"examples": [{"a": 1, "b": null, "c": [[]]}, 3]}'
    assert refusal(body) == "Feature: b has element with unexpected JSON type: Null"
    assert refusal('{"examples": [{"a": 1}, 3, {"b": null}]}') == "Example must be JSON object but got JSON Number"
    assert refusal('{"context": 1, "examples": 2}') == "Example must be JSON object but got JSON Number"
    assert refusal('{"context": {"a": null}}') == "Feature: a has element with unexpected JSON type: Null"


@pytest.mark.parametrize(
    ("text", "named"),
    [("null", "Null"), ("true", "True"), ("false", "False"), ("[]", "Array"), ('"a"', "String"), ("1.5", "Number")],
)
def test_examples_that_are_no_objects(text: str, named: str) -> None:
    message = f"Example must be JSON object but got JSON {named}"
    assert refusal(f'{{"examples": [{{}}, {text}]}}') == message
    assert refusal(f'{{"context": {text}, "examples": [{{}}]}}') == message


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"a": 1}, "When method is classify, key 'examples' is expected and was not found"),
        ({"context": {}}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {"x": 1}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": None}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
    ],
)
def test_no_examples(document: dict[str, Any], what: str) -> None:
    assert refusal(document) == f"JSON Value: {dump(document)} {what}"


def test_an_example_without_features() -> None:
    assert examples({"examples": [{}, {}]}) == [b"", b""]
    assert examples({"context": {}, "examples": [{}]}) == [b""]


def test_a_context_goes_into_each_example_which_wins() -> None:
    made = examples({"context": {"a": 1.0, "b": "context"}, "examples": [{"c": 1}, {"b": [2.0, 3.0]}, {}]})
    assert [features(one) for one in made] == [
        {"a": ("float_list", [1.0]), "b": ("bytes_list", [b"context"]), "c": ("int64_list", [1])},
        {"a": ("float_list", [1.0]), "b": ("float_list", [2.0, 3.0])},
        {"a": ("float_list", [1.0]), "b": ("bytes_list", [b"context"])},
    ]


def test_a_feature_without_a_kind_takes_one_of_the_context_away() -> None:
    (made,) = examples({"context": {"a": 1.0}, "examples": [{"a": []}]})
    assert features(made) == {"a": (None, [])}


def test_of_members_with_one_name_the_last_counts() -> None:
    for also in ("", ', "y": NaN'):  # which another parser reads
        (made,) = examples(f'{{"examples": [{{"x": 1, "z": 2, "x": 3.5}}]{also}}}')
        assert features(made)["x"] == ("float_list", [3.5])


def test_of_lists_of_examples_the_first_counts() -> None:
    assert examples('{"examples": [{}], "context": {}, "examples": [1], "context": 1}') == [b""]


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 127, 128, 1000])
@pytest.mark.parametrize("letter", ["n", "é"])
def test_names_of_any_length(length: int, letter: str) -> None:
    name = letter * length
    values = {name: 1.5, name + "2": "text", name + "3": [1, 2]}
    (made,) = examples({"examples": [values]})
    wanted: dict[str, list[Any]] = {name: [1.5], name + "2": [b"text"], name + "3": [1, 2]}
    assert parsed(made) == example(**wanted)


def test_a_zero_cuts_a_name() -> None:
    (made,) = examples({"examples": [{"x\0y": 1.0, "\0": 2}]})
    assert features(made) == {"x": ("float_list", [1.0]), "": ("int64_list", [2])}
    body = {"examples": [{"x\0y": None}]}
    assert refusal(body) == "Feature: x has element with unexpected JSON type: Null"


def test_a_name_that_is_no_utf_8() -> None:
    (made,) = examples('{"examples": [{"\udcff": 1.0}]}')
    assert b"\x0a\x01\xff\x12\x08" in made


@given(
    st.dictionaries(
        st.text(max_size=80).filter(lambda name: "\0" not in name),
        st.lists(st.floats(width=32, allow_nan=False))
        | st.lists(st.integers(-(1 << 63), (1 << 63) - 1))
        | st.lists(st.text(max_size=200)),
        max_size=6,
    ),
    st.booleans(),
)
def test_examples_are_what_protobuf_builds(members: dict[str, list[Any]], scalars: bool) -> None:
    value = {name: one[0] if scalars and len(one) == 1 else one for name, one in members.items()}
    (made,) = examples({"examples": [value]})
    wanted = {name: [e.encode() if isinstance(e, str) else e for e in one] for name, one in members.items()}
    assert parsed(made) == example(**wanted)


def test_a_context_can_not_make_much_of_little() -> None:
    body = {"context": {"x": "y" * 1000}, "examples": [{}] * 1100}
    with pytest.raises(ServingError) as caught:
        examples(body)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert f"more than the limit of {MOST}" in caught.value.message
    assert len(examples(body, most_bytes=1 << 21)) == 1100
