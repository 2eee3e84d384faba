"""Bodies in RapidJSON's dialect: what is accepted, what is refused, with which text and at which byte."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frontend.rest.json_dialect import parse_dialect
from frontend.rest.json_document import dump, parse_document
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
    for body, text in ((b"5", "5"), (b'"x"', '"x"'), (b"null", "null"), (b"[1, 2]", "[1, 2]"), (b"NaN", "NaN")):
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


def test_the_first_of_several_members_counts() -> None:
    for body in (b'{"a":1,"a":2,"b":NaN}', b'{"a":1,"a":2,"b":Inf}', b'{"a":1,"a":2}{'):
        assert parse_document(body)["a"] == 1
    assert parse_document(b'{"x":{"a":[1],"a":[2]},"b":NaN}')["x"] == {"a": [1]}


def test_nesting_has_no_limit() -> None:
    """500,000 lists under a name that nobody reads do no harm; nothing recurses, not even where they are dropped."""
    deep = 500_000
    document = parse_document(b'{"ignored":' + b"[" * deep + b"]" * deep + b',"a":1}')
    assert document["a"] == 1
    levels, value = 0, document["ignored"]
    while value:
        value, levels = value[0], levels + 1
    assert levels == deep - 1
    objects = parse_document(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    for _ in range(99_999):
        objects = objects["a"]
    assert objects == {"a": 1}


def test_nesting_without_end() -> None:
    assert refusal(b"[" * 100_000) == "JSON Parse error: Invalid value. at offset: 100000"
    assert refusal(b'{"a":' * 100_000) == "JSON Parse error: Invalid value. at offset: 500000"
    assert refusal(b"[" * 100_000 + b"]" * 100_000).endswith(" Is not object")
    assert refusal(b"[" * 3_000_000) == "JSON Parse error: The document is nested too deeply. at offset: 0"


def test_long_documents() -> None:
    """What takes plain Python too long has its dialect all the same, and errors without their exact text."""
    assert repr(parse_document(LONG + b'{"a":[NaN,-Infinity],"a":1}x')) == "{'a': [nan, -inf]}"
    assert parse_document(b"\xef\xbb\xbf" + LONG + b'{"a":"\xff"}') == {"a": "\udcff"}
    assert refusal(LONG + b'{"a":1') == f"JSON Parse error: Invalid value. at offset: {len(LONG) + 6}"
    assert refusal(LONG + '{"é":'.encode()) == f"JSON Parse error: Invalid value. at offset: {len(LONG) + 6}"
    assert refusal(LONG + b'{"a":1e309}') == "JSON Parse error: Invalid value. at offset: 0"
    assert refusal(LONG) == f"JSON Parse error: Invalid value. at offset: {len(LONG)}"


def test_dump() -> None:
    assert dump({"a": [1, 2.5, None, True, "é"]}) == '{"a": [1, 2.5, null, true, "é"]}'
    assert 256 <= len(dump(list(range(1000)))) < 300
    assert len(dump(["x" * 1000, 1])) < 1020  # a string is not cut
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert dump(deep)


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
