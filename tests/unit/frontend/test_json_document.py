"""Bodies in RapidJSON's dialect: what is accepted, what is refused, with which text and at which byte."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frontend.rest import json_document
from frontend.rest.json_dialect import MOST_LEVELS, parse_dialect
from frontend.rest.json_document import parse_document, parse_exactly
from ringserve.errors import Code, ServingError

LONG = b" " * (257 << 10)  # with this much white space before it a document is long


def refusal(body: bytes) -> str:
    with pytest.raises(ServingError) as caught:
        parse_document(body)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def value_of(text: bytes) -> Any:
    """The value, which both ways of parsing agree about."""
    body = b'{"a":' + text + b"}"
    value = parse_document(body)["a"]
    assert repr(parse_dialect(body)) == repr({"a": value})
    return value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b" ", "The document is empty. at offset: 1"),
        (b"\r\n\t ", "The document is empty. at offset: 4"),
        (b"\xef\xbb\xbf", "The document is empty. at offset: 3"),
        (b"\0", "The document is empty. at offset: 0"),
        (b"]", "The document is empty. at offset: 0"),
        (b" }", "The document is empty. at offset: 1"),
        (b",{}", "The document is empty. at offset: 0"),
        (b":", "The document is empty. at offset: 0"),
    ],
)
def test_nothing_there(body: bytes, message: str) -> None:
    assert refusal(body) == f"JSON Parse error: {message}"


@pytest.mark.parametrize(
    ("body", "message", "offset"),
    [
        (b"nul", "Invalid value.", 3),  # behind what is right of the word
        (b"nulL", "Invalid value.", 3),
        (b"True", "Invalid value.", 0),
        (b'{"a":fals}', "Invalid value.", 9),
        (b'{"a":', "Invalid value.", 5),
        (b'{"a":}', "Invalid value.", 5),
        (b'{"a":]', "Invalid value.", 5),
        (b"[", "Invalid value.", 1),
        (b"[,1]", "Invalid value.", 1),
        (b"[1,]", "Invalid value.", 3),
        (b"[1,,2]", "Invalid value.", 3),
        (b"[}", "Invalid value.", 1),
        (b"['a']", "Invalid value.", 1),
        (b"[+1]", "Invalid value.", 1),
        (b"[.5]", "Invalid value.", 1),
        (b"[-]", "Invalid value.", 2),
        (b"[--1]", "Invalid value.", 2),
        (b"[- 1]", "Invalid value.", 2),
        (b"[nan]", "Invalid value.", 2),
        (b"[Nan]", "Invalid value.", 3),
        (b"[inf]", "Invalid value.", 1),
        (b"[INF]", "Invalid value.", 2),
        (b"[Infinit]", "Invalid value.", 8),
        (b"[-Infinitx]", "Invalid value.", 9),
        (b"[-I]", "Invalid value.", 3),
        (b"/**/{}", "Invalid value.", 0),
        (b"\xff", "Invalid value.", 0),
        (b"\x0c{}", "Invalid value.", 0),
        (b'{"a":\0 1}', "Invalid value.", 5),
        (b"{", "Missing a name for object member.", 1),
        (b"{1:2}", "Missing a name for object member.", 1),
        (b"{]", "Missing a name for object member.", 1),
        (b"{a:1}", "Missing a name for object member.", 1),
        (b"{'a':1}", "Missing a name for object member.", 1),
        (b'{"a":1,}', "Missing a name for object member.", 7),
        (b'{"a":1,,"b":2}', "Missing a name for object member.", 7),
        (b'{"a"', "Missing a colon after a name of object member.", 4),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a","b"}', "Missing a colon after a name of object member.", 4),
        (b'{"a":1', "Missing a comma or '}' after an object member.", 6),
        (b'{"a":1]', "Missing a comma or '}' after an object member.", 6),
        (b'{"a":1 "b":2}', "Missing a comma or '}' after an object member.", 7),
        (b'{"a":[1,{}] 2}', "Missing a comma or '}' after an object member.", 12),
        (b'{"a":01}', "Missing a comma or '}' after an object member.", 6),
        (b'{"a":1\0}', "Missing a comma or '}' after an object member.", 6),
        (b'{"a":{"b":1', "Missing a comma or '}' after an object member.", 11),
        (b"[1", "Missing a comma or ']' after an array element.", 2),
        (b"[1 2]", "Missing a comma or ']' after an array element.", 3),
        (b"[1}", "Missing a comma or ']' after an array element.", 2),
        (b"[[1][2]]", "Missing a comma or ']' after an array element.", 4),
        (b'{"a":["]",1 2]}', "Missing a comma or ']' after an array element.", 12),
        (b"[1//c\n]", "Missing a comma or ']' after an array element.", 2),
        (b"[0x1]", "Missing a comma or ']' after an array element.", 2),
        (b"[1_000]", "Missing a comma or ']' after an array element.", 2),
        (b"[1.]", "Miss fraction part in number.", 3),
        (b"[1.e5]", "Miss fraction part in number.", 3),
        (b"[-0.]", "Miss fraction part in number.", 4),
        (b"[1e]", "Miss exponent in number.", 3),
        (b"[1e+]", "Miss exponent in number.", 4),
        (b"[1.5E-x]", "Miss exponent in number.", 6),
        (b"[1, 1e309]", "Number too big to be stored in double.", 4),
        (b"[-1e309]", "Number too big to be stored in double.", 1),
        (b"[1" + b"0" * 400 + b"]", "Number too big to be stored in double.", 1),
        (b'{"x":"1e309","a":1e309}', "Number too big to be stored in double.", 17),
        (b'"abc', "Missing a closing quotation mark in string.", 4),
        (b'{"a":"x', "Missing a closing quotation mark in string.", 7),
        (b'{"a', "Missing a closing quotation mark in string.", 3),
        (b'"a\0"', "Missing a closing quotation mark in string.", 2),
        (b'"a\n"', "Invalid escape character in string.", 2),
        (b'"\x1f"', "Invalid escape character in string.", 1),
        (b'"ab\\x"', "Invalid escape character in string.", 3),
        (b'"\\', "Invalid escape character in string.", 1),
        (b'"\\\'"', "Invalid escape character in string.", 1),
        (b'"\\U0041"', "Invalid escape character in string.", 1),
        (b'"a\\u12"', "Incorrect hex digit after \\u escape in string.", 2),
        (b'"\\u12g4"', "Incorrect hex digit after \\u escape in string.", 1),
        (b'"\\u', "Incorrect hex digit after \\u escape in string.", 1),
        (b'"\\u+123"', "Incorrect hex digit after \\u escape in string.", 1),
        (b'"\\ud83d\\u12"', "Incorrect hex digit after \\u escape in string.", 1),
        (b'"ab\\ud800"', "The surrogate pair in string is invalid.", 3),
        (b'"\\uD800x"', "The surrogate pair in string is invalid.", 1),
        (b'"\\ud800\\n"', "The surrogate pair in string is invalid.", 1),
        (b'"\\ud800\\u0041"', "The surrogate pair in string is invalid.", 1),
        (b'"\\ud800\\ud800"', "The surrogate pair in string is invalid.", 1),
        (b'\xef\xbb\xbf{"a":x}', "Invalid value.", 8),  # bytes, the byte-order mark's too
        ('{"é":x}'.encode(), "Invalid value.", 6),
        (b'{"\xff\xff":x}', "Invalid value.", 6),
    ],
)
def test_syntax_errors(body: bytes, message: str, offset: int) -> None:
    assert refusal(body) == f"JSON Parse error: {message} at offset: {offset}"


def test_top_level_must_be_an_object() -> None:
    for body, text in ((b"5", "5"), (b'"x"', '"x"'), (b"null", "null"), (b"[1, 2]", "[1, 2]"), (b"NaN", "")):
        assert refusal(body) == f"JSON Value: {text} Is not object"


@pytest.mark.parametrize("tail", [b"{", b" trailing", b"\0\0\0", b"\xff\xfe", b'{"a":2}', b"}", b"\n"])
def test_text_after_the_document_is_ignored(tail: bytes) -> None:
    assert parse_document(b'{"a":1}' + tail) == {"a": 1}


def test_byte_order_mark_is_skipped() -> None:
    assert parse_document(b'\xef\xbb\xbf {"a":1}') == {"a": 1}
    assert refusal(b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}') == "JSON Parse error: Invalid value. at offset: 3"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"NaN", math.nan),
        (b"-NaN", math.nan),
        (b"Infinity", math.inf),
        (b"-Infinity", -math.inf),
        (b"Inf", math.inf),
        (b"-Inf", -math.inf),
        (b"1.0", 1.0),
        (b"1e2", 100.0),
        (b"1E+2", 100.0),
        (b"25e-1", 2.5),
        (b"0", 0),
        (b"-0", 0),
        (b"-0.0", -0.0),
        (b"9223372036854775808", 1 << 63),
        (b"-9223372036854775808", -(1 << 63)),
        (b"18446744073709551615", (1 << 64) - 1),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"1" + b"0" * 300, 1e300),
        (b"1e-400", 0.0),
        (b"0.1", 0.1),
        (b"true", True),
        (b"false", False),
        (b"null", None),
        (b"[]", []),
        (b"{}", {}),
        (b"[ ]", []),
        (b"{ }", {}),
        (b'[ 1 , [ ] , {"b" : [ NaN ] } ]', [1, [], {"b": [math.nan]}]),
    ],
)
def test_values(text: bytes, value: Any) -> None:
    found = value_of(text)
    assert repr(found) == repr(value)  # type, sign of zero, NaN
    with_nan = parse_document(b'{"n":NaN,"a":' + text + b"}")  # as the standard library's parser reads it
    assert repr(with_nan["a"]) == repr(value)


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (b'"plain"', b"plain"),
        ('"é€😀"'.encode(), "é€😀".encode()),
        (rb'"\"\\\/\b\f\n\r\t"', b'"\\/\b\f\n\r\t'),
        (rb'"\u0041\u00e9\u20AC"', "Aé€".encode()),
        (rb'"\ud83d\ude00"', "😀".encode()),
        (rb'"a\u0000b"', b"a\0b"),
        (b'"\x7f"', b"\x7f"),
        (b'"\xff\xfe"', b"\xff\xfe"),  # no UTF-8: kept as it is
        (b'"a\xc3"', b"a\xc3"),
        (b'"\xed\xa0\x80"', b"\xed\xa0\x80"),
        (b'"\xff\\n"', b"\xff\n"),
        (rb'"\udc80"', b"\xed\xb2\x80"),  # a lone low surrogate: its three bytes
        (rb'"\uDFFFx"', b"\xed\xbf\xbfx"),
        (b'"\xff\\udc80"', b"\xff\xed\xb2\x80"),
    ],
)
def test_strings_keep_their_bytes(text: bytes, raw: bytes) -> None:
    assert value_of(text).encode("utf-8", "surrogateescape") == raw


def test_names_may_be_any_bytes() -> None:
    assert parse_document(b'{"\xff":1, "":2}') == {"\udcff": 1, "": 2}


TOP = ("instances", "inputs", "signature_name", "examples", "context")


@pytest.mark.parametrize("name", TOP)
@pytest.mark.parametrize("more", [b"", b',"n":NaN', b',"n":Inf', b',"n":"\xff"'], ids=["plain", "NaN", "Inf", "bytes"])
def test_of_upstreams_names_the_first_one_counts(name: str, more: bytes) -> None:
    hidden = f"\\u{ord(name[0]):04X}{name[1:]}"
    for one, other in ((name, name), (name, hidden), (hidden, name), (hidden, hidden)):
        body = f'{{"{one}":1,"x":0,"{other}":2'.encode() + more + b"}"
        for last_inside in (False, True):
            document = parse_document(body, last_inside)
            assert document[name] == 1
            assert document["x"] == 0


def test_a_name_elsewhere_is_no_member() -> None:
    body = {"x": ["instances", {"instances": 1}], "instances": ["instances", 'a\\"inputs'], "inputs": "inputs"}
    for ascii_only in (False, True):
        assert parse_document(json.dumps(body, ensure_ascii=ascii_only).encode()) == body


def test_the_first_or_the_last_of_inner_members() -> None:
    body = b'{"examples":[{"x":1,"x":2},{"y":{"a":3,"a":4}}],"examples":0}'
    assert parse_document(body) == {"examples": [{"x": 1}, {"y": {"a": 3}}]}
    assert parse_document(body, last_inside=True) == {"examples": [{"x": 2}, {"y": {"a": 4}}]}
    for more in (b',"n":NaN}', b',"n":Inf}', b',"n":' + b"[" * 2000 + b"]" * 2000 + b"}"):
        assert parse_document(body[:-1] + more)["examples"] == [{"x": 1}, {"y": {"a": 3}}]
        assert parse_document(body[:-1] + more, True)["examples"] == [{"x": 2}, {"y": {"a": 4}}]


def levels(value: Any) -> int:
    """Of lists and objects that are not empty."""
    count = 0
    while isinstance(value, list | dict) and value:
        value, count = next(iter(value.values())) if isinstance(value, dict) else value[0], count + 1
    return count


def test_nesting_has_no_limit() -> None:
    """500,000 lists under a name that nobody reads do no harm; what is nested deeper than anything can be is left empty."""
    deep = 500_000
    document = parse_document(b'{"ignored":' + b"[" * deep + b"]" * deep + b',"a":1}')
    assert document["a"] == 1
    assert levels(document["ignored"]) == MOST_LEVELS - 1
    objects = parse_document(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)
    assert levels(objects) == MOST_LEVELS
    mixed = b'[{"a":[[' * 2000 + b"1" + b"]]}]" * 2000
    assert parse_document(b'{"a":' + mixed + b',"b":[1]}')["b"] == [1]
    just = MOST_LEVELS - 1
    for depth in (just - 1, just, just + 1, just + 2):
        value = parse_document(b'{"a":' + b"[" * depth + b"]" * depth + b"}")["a"]
        assert levels(value) == min(depth - 1, just)
        value = parse_document(b'{"a":' + b"[" * depth + b"7" + b"]" * depth + b"}")["a"]
        assert levels(value) == min(depth, just)


def test_nesting_without_end() -> None:
    assert refusal(b"[" * 100_000) == "JSON Parse error: Invalid value. at offset: 100000"
    assert refusal(b"[" * 3_000_000) == "JSON Parse error: Invalid value. at offset: 3000000"
    assert refusal(b'{"a":' * 1500) == "JSON Parse error: Invalid value. at offset: 7500"
    assert refusal(b"[" * 100_000 + b"]" * 100_000).endswith(" Is not object")
    wrong_end = b'{"a":' + b"[" * 5000 + b"]" * 4990 + b"}"
    assert (
        refusal(wrong_end)
        == f"JSON Parse error: Missing a comma or ']' after an array element. at offset: {len(wrong_end) - 1}"
    )


@pytest.mark.parametrize("opening", [b'{"a":', b"[ ", b"[1],"])
def test_deep_and_large_documents_are_refused_in_time(opening: bytes) -> None:
    """They take Python; upstream's process would take them."""
    assert refusal(b'{"a":' + b"[" * 2000 + opening * 300_000).startswith(
        "JSON Parse error: The document is nested too deeply."
    )


def test_long_documents() -> None:
    assert repr(parse_document(LONG + b'{"a":[NaN,-Infinity,Inf,-NaN],"a":1}x')) == "{'a': [nan, -inf, inf, nan]}"
    assert parse_document(b"\xef\xbb\xbf" + LONG + b'{"a":"\xff"}') == {"a": "\udcff"}
    assert refusal(LONG) == f"JSON Parse error: The document is empty. at offset: {len(LONG)}"
    assert refusal(LONG + b"1.") == f"JSON Parse error: Miss fraction part in number. at offset: {len(LONG) + 2}"


def test_long_numbers() -> None:
    """Millions of digits: converted in linear time."""
    digits = b"1" * 1_000_000
    assert refusal(b'{"a":' + digits + b"}") == "JSON Parse error: Number too big to be stored in double. at offset: 5"
    assert parse_document(b'{"b":NaN,"a":0.' + digits + b"}")["a"] == 1 / 9
    assert parse_document(b'{"b":NaN,"a":' + digits + b"e-1000000}")["a"] == 1 / 9
    half = b"9007199254740993"  # 2**53 + 1, half way between two doubles
    assert parse_document(b'{"b":NaN,"a":' + half + b"." + b"0" * 900 + b"}")["a"] == 2.0**53
    assert parse_document(b'{"b":NaN,"a":' + half + b"." + b"0" * 900 + b"1}")["a"] == 2.0**53 + 2
    assert refusal(LONG + b'{"x":"1e309","a":0.1e309,"b":1e309}') == (
        f"JSON Parse error: Number too big to be stored in double. at offset: {len(LONG) + 29}"
    )


def seconds(body: bytes) -> float:
    """Of this thread, to parse a body, or to refuse it."""

    def one() -> float:
        begun = time.thread_time()
        with contextlib.suppress(ServingError):
            parse_document(body)
        return time.thread_time() - begun

    return min(one() for _ in range(3))


@pytest.mark.parametrize(
    "again", [b'"\\', b'\\"', b'"a\\"', b'"\\\\\\"', b"\\\\", b"\\udc00", b"\\\\ud800", b" ", b'"",', b"[1,"]
)
@pytest.mark.parametrize(
    "before",
    [b'{"instances":[1,', b'{"instances":[Inf,', b'{"instances":["', b'{"a":[Inf,"', b'{"a":"\xff","b":[-NaN,', b'"'],
)
def test_the_time_grows_with_the_size(before: bytes, again: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times the size never takes near 64 times as long: not where a string has no end either."""
    monkeypatch.setattr(json_document, "_SHORT", 0)
    few, many = (before + again * (size // len(again)) for size in (4 << 10, 32 << 10))
    assert seconds(many) < 24 * seconds(few) + 0.01


def test_strings_without_an_end() -> None:
    for before in (b'"', b'{"a":[1,"', b'{"a":[Inf,"', b'{"a":"\xff","b":[Inf,{"'):
        for again in (b'\\"', b"\\\\", b"Inf", b"\\udc00", b'{[,:\\"'):
            body = before + again * (100_000 // len(again))
            assert refusal(body) == f"JSON Parse error: Missing a closing quotation mark in string. at offset: {len(body)}"
            assert refusal(body + b"\\") == f"JSON Parse error: Invalid escape character in string. at offset: {len(body)}"
            assert refusal(body + b"\\ud800") == (
                f"JSON Parse error: The surrogate pair in string is invalid. at offset: {len(body)}"
            )


def test_long_lists_that_end_where_an_object_should() -> None:
    """All of the lists that are too deep to be kept end at once, and not one by one."""
    deep = 100_000
    body = b'{"a":' + b"[" * 2000 + b'{"b":' + b"[" * deep + b"]" * (deep + 5)
    at = len(body) - 5
    assert refusal(body) == f"JSON Parse error: Missing a comma or '}}' after an object member. at offset: {at}"


def test_many_lone_surrogates() -> None:
    """And the same behind backslashes, pairs and other escapes."""
    for text, raw in (
        (rb"\udc00", b"\xed\xb0\x80"),
        (rb"\uDFFFx", b"\xed\xbf\xbfx"),
        (rb"\\udc00", rb"\udc00"),
        (rb"\\\udc00", b"\\\xed\xb0\x80"),
        (rb"\\\\udc00", rb"\\udc00"),
        (rb"\ud83d\ude00\udc00", "😀".encode() + b"\xed\xb0\x80"),
        (rb"\\ud83d\ude00", rb"\ud83d" + b"\xed\xb8\x80"),
        (rb"\u0041\n\udc00\udFff", b"A\n\xed\xb0\x80\xed\xbf\xbf"),
    ):
        for count in (1, 5000):
            assert value_of(b'"' + text * count + b'"').encode("utf-8", "surrogateescape") == raw * count


pieces = st.sampled_from(
    b'{"a": |{|}|[|]|,|:| |"|"x"|\\|\\u|\\ud83d\\ude00|\\ud800|\\udc00|\\n|1|-|0|.|e5|1.5|1e309|NaN|Infinity|Inf|-|null|'
    b"true|\0|\xff|\xc3\xa9|\n|\x1f|\xef\xbb\xbf".split(b"|")
)
bodies = st.one_of(st.binary(), st.lists(pieces).map(b"".join), st.lists(pieces).map(lambda some: b'{"a":' + b"".join(some)))


@settings(deadline=None)
@given(bodies)
@example(b'{"a":"\\ud800\xff"}')
def test_any_bytes_parse_or_are_refused(body: bytes) -> None:
    try:
        document = parse_document(body)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message.startswith(("JSON Parse error: ", "JSON Value: "))
    else:
        assert type(document) is dict


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_documents_come_back(value: Any, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps({"a": value}, ensure_ascii=ascii_only, indent=indent).encode()
    assert repr(parse_document(body)) == repr({"a": value})
    assert repr(parse_dialect(body)) == repr({"a": value})


@settings(deadline=None)
@given(values, st.data())
def test_cut_documents_are_refused_at_their_end(value: Any, data: st.DataObject) -> None:
    """Nothing that is not there is made up: a cut document is no document."""
    body = json.dumps({"a": value}).encode()
    cut = data.draw(st.integers(1, len(body) - 1))
    offset = int(refusal(body[:cut]).rpartition(": ")[2])
    assert cut - 12 <= offset <= cut  # an escape begins at most that far before its end


def outcome(parse: Any, body: bytes) -> str:
    try:
        return repr(parse(body))
    except ServingError as error:
        return error.message


#: Pieces that long and short documents take different ways about.
hard = st.sampled_from(
    b'{"a": |{|}|[|]|,|:| |"|"x"|\\|\\u|\\ud83d\\ude00|\\ud800|\\udc80|\\\\|\\n|1|-|.|e5|1.5|1e309|1.|1e|01|NaN|-NaN|'
    b'Infinity|Inf|-Inf|Infi|null|tru|\0|\xff|\x1f|"Inf"|"\\\\ud800"|"k":"v",|[1,2,3],|{"b":[1,{"c":"d"}],"k":|'
    b'"\\|"\\"|\\"\\"|"Inf\\"|"a\\\\|"\\\\\\"|\\udc00\\uDFff|\\ud83d\\ude00\\udc00|\\\\\\udc00'.split(b"|")
)
hard_bodies = st.lists(hard, min_size=1, max_size=12).map(b"".join)


@settings(deadline=None, max_examples=400)
@given(st.one_of(hard_bodies, hard_bodies.map(lambda some: b'{"a":' + some)), st.booleans())
@example(b'{"a":"\\\\ud83d\\ude00","b":NaN}', False)
@example(b'{"a":Inf}"\\ud800"', False)
@example(b'{"\\ud800a": 1e309}', False)
@example(b'{"\\udc80": {"\\ud800": NaN}}', False)
@example(b'{"a":1e3091e309}', False)
@example(b'{"a":"\\"\\ud83d\\ude00', False)
def test_long_documents_are_what_short_ones_are(body: bytes, last_inside: bool) -> None:
    """What the exact parser gives, and its very errors, though it sees nothing but the place where a long one is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_document, "_SHORT", 0)
        found = outcome(lambda body: parse_exactly(body, last_inside), body)
        refused = outcome(lambda body: [parse_document(body)], body)
    exact = outcome(lambda body: parse_dialect(body, last_inside), body)
    assert found == exact
    if refused.startswith("JSON Parse error"):
        assert refused == exact


@settings(deadline=None, max_examples=200)
@given(values, st.booleans(), st.data())
def test_long_documents_with_a_mistake(value: Any, ascii_only: bool, data: st.DataObject) -> None:
    body = json.dumps({"a": value}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    at = data.draw(st.integers(0, len(body)))
    body = body[:at] + data.draw(hard) + body[at + data.draw(st.integers(0, 2)) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_document, "_SHORT", 0)
        assert outcome(parse_exactly, body) == outcome(parse_dialect, body)
        refused = outcome(lambda body: [parse_document(body)], body)
    if refused.startswith("JSON Parse error"):
        assert refused == outcome(parse_dialect, body)
