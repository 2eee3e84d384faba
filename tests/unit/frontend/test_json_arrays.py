"""The fast ways from JSON to arrays give what the slow and exact way gives, or nothing at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frontend.rest import json_arrays
from frontend.rest.json_arrays import number_body, tensor_from_lists
from frontend.rest.json_document import parse_document
from frontend.rest.json_values import MOST_DIMS, tensor_from_value
from frontend.tensors import Tensor
from ringserve.errors import ServingError
from ringserve.tensor import BY_NAME, DTYPES, STRING, DType

#: A number too large for float32 becomes infinite; the server turns numpy's warning about it off.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")

READABLE = ("float", "double", "bool", "string", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
dtypes = st.sampled_from([BY_NAME[name] for name in READABLE])
any_dtypes = st.sampled_from(list(DTYPES.values()))


def same(fast: Tensor, exact: Tensor) -> bool:
    """Shape, dtype and every bit."""
    if fast.dtype is not exact.dtype or fast.shape != exact.shape or type(fast.data) is not type(exact.data):
        return False
    if isinstance(fast.data, list) or isinstance(exact.data, list):
        return fast.data == exact.data
    known = fast.data.dtype == exact.data.dtype and fast.data.shape == exact.data.shape == fast.shape
    return known and fast.data.tobytes() == exact.data.tobytes()


def exactly(value: Any, dtype: DType) -> Tensor | None:
    try:
        return tensor_from_value(value, dtype)
    except ServingError:
        return None


def check_lists(value: list[Any], dtype: DType) -> None:
    fast = tensor_from_lists(value, dtype)
    if fast is not None:
        exact = exactly(value, dtype)
        assert exact is not None, "the fast way took what the exact way refuses"
        assert same(fast, exact)


numbers = st.one_of(
    st.integers(-5, 300),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([(1 << 31) - 1, 1 << 31, -(1 << 31) - 1, 1 << 32, 1 << 53, (1 << 53) + 1, (1 << 63) - 1, 1 << 63]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e39, 1e-46, 16777217.0, 0.1]),
)
leaves = st.one_of(
    numbers, st.booleans(), st.text(max_size=3), st.none(), st.just({"b64": "YQ=="}), st.just({"x": 1}), st.just("\udcff")
)
ragged = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=20)


@st.composite
def regular(draw: st.DrawFn, leaf: st.SearchStrategy[Any]) -> list[Any]:
    """A nested list of one shape, which may have empty dimensions."""
    shape = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))

    def build(level: int) -> Any:
        return draw(leaf) if level == len(shape) else [build(level + 1) for _ in range(shape[level])]

    built: list[Any] = build(0)
    return built


@settings(deadline=None, max_examples=300)
@given(st.lists(ragged, max_size=4), any_dtypes)
@example([1, True], BY_NAME["int32"])
@example([True, 1], BY_NAME["bool"])
@example([[1], [2, 3]], BY_NAME["float"])
@example([[1], 2], BY_NAME["float"])
@example([1, [2]], BY_NAME["float"])
@example([[], []], BY_NAME["float"])
@example([[[1]], [[]]], BY_NAME["float"])
@example(["a", {"b64": "YQ=="}], STRING)
def test_any_lists(value: list[Any], dtype: DType) -> None:
    check_lists(value, dtype)


@settings(deadline=None, max_examples=300)
@given(st.one_of(*map(regular, [numbers, st.booleans(), st.text(max_size=3), st.integers(-5, 300), leaves])), any_dtypes)
def test_lists_of_one_shape(value: list[Any], dtype: DType) -> None:
    check_lists(value, dtype)


PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats() | st.integers(-(1 << 63), (1 << 64) - 1),
    "double": st.floats() | st.integers(-(1 << 63), (1 << 64) - 1),
    "bool": st.booleans(),
    "string": st.text(),
    "uint32": st.integers(0, (1 << 32) - 1),
    "uint64": st.integers(0, (1 << 64) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    **dict.fromkeys(("int8", "int16", "int32", "uint8"), st.integers(-(1 << 31), (1 << 31) - 1)),
}


@settings(deadline=None)
@given(st.sampled_from(sorted(PLAIN)).flatmap(lambda name: st.tuples(st.just(name), regular(PLAIN[name]))))
def test_what_is_plain_goes_the_fast_way(case: tuple[str, list[Any]]) -> None:
    name, value = case
    exact = tensor_from_value(value, BY_NAME[name])
    assert (tensor_from_lists(value, BY_NAME[name]) is not None) == (0 not in exact.shape)
    check_lists(value, BY_NAME[name])


def test_deep_lists_are_left_to_the_exact_way() -> None:
    value: Any = [1]
    for _ in range(MOST_DIMS - 1):
        value = [value]
    assert tensor_from_lists(value, BY_NAME["float"]) is not None
    assert tensor_from_lists([value], BY_NAME["float"]) is None
    for _ in range(100_000):
        value = [value]
    assert tensor_from_lists(value, BY_NAME["float"]) is None


def check_body(body: bytes, dtype: DType) -> bool:
    """Whether the body was taken; it is then what the ordinary way makes of it, signature and key too."""
    whole = number_body(body)
    tensor = whole.tensor(dtype) if whole is not None else None
    if whole is None or tensor is None:
        return False
    document = json.loads(body)  # raises for what is no JSON
    assert document == parse_document(body)
    assert list(document) in ([whole.key], [whole.key, "signature_name"], ["signature_name", whole.key])
    assert document.get("signature_name", "") == whole.signature
    exact = tensor_from_value(document[whole.key], dtype)
    assert same(tensor, exact)
    return True


NARROW = ("int8", "int16", "int32", "uint8")
WHOLE = (*NARROW, "int64", "uint32", "uint64")
NUMERIC = [BY_NAME[name] for name in ("float", "double", *WHOLE)]


@pytest.mark.parametrize(
    "array",
    [
        "[]", "[[]]", "[[],[]]", "[[1],[]]", "[[],[1]]", "[,]", "[1,]", "[,1]", "[1,,2]", "[1 2]", "[1 2,3]",
        "[[1],2]", "[1,[2]]", "[[1,2],[3]]", "[[1],[2,3]]", "[[1][2]]", "[[1]2]", "[1[2]]", "[[1,2],[3 4]]",
        "[[1],[[2]]]", "[[[1]],[2]]", "[1]]", "[[1]", "[", "]", "[]]", "[[[]", "[+1]", "[01]", "[-01]", "[1.]",
        "[.5]", "[-]", "[--1]", "[1-1]", "[1e]", "[e1]", "[E]", "[1e+]", "[1e5.5]", "[1..2]", "[1e400]", "[-1e400]",
        "[- 1]", "[1. 5]", "[1 e5]", "[1\x0c]", "[\x0b1]", "[1\xa0]", "[1\x00]", "[NaN]", "[Infinity]", "[0x1]",
        "[1_0]", "[\u0661]", "[1;2]", "[true]", "[null]", '["1"]', "[{}]", "[1],[2]", "[1],2", "[1]1", "1",
        "[[1,2],[3,4],]", "[[1,2],,[3,4]]", "[1e]5", "[1,2", "[" * 40 + "1" + "]" * 40,
    ],
)  # fmt: skip
def test_bodies_that_are_no_arrays_of_numbers(array: str) -> None:
    for key in ("instances", "inputs"):
        for dtype in NUMERIC:
            assert not check_body(f'{{"{key}":{array}}}'.encode(), dtype)


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        ("[1]", (1,)),
        ("[-0]", (1,)),
        ("[1,2,3]", (3,)),
        (" [ 1 ,\t2\r\n, 3 ] ", (3,)),
        ("[[1],[2]]", (2, 1)),
        ("[[[1,2],[3,4]],[[5,6],[7,8]],[[9,0],[1,2]]]", (3, 2, 2)),
        ("[" * 32 + "1,2" + "]" * 32, (1,) * 31 + (2,)),
    ],
)
def test_bodies_that_are(array: str, shape: tuple[int, ...]) -> None:
    for body in (
        f'{{"instances":{array}}}',
        f' {{ "inputs" : {array} }} \n',
        f'{{"signature_name" : "a/b.c:D-e_0" , "instances":{array}}}',
        f'{{"inputs":{array} , "signature_name":""}}',
    ):
        whole = number_body(body.encode())
        assert whole is not None
        assert whole.shape == shape
        for dtype in NUMERIC:
            assert check_body(body.encode(), dtype)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[1],"instances":[2]}',
        b'{"instances":[1],"inputs":[2]}',
        b'{"signature_name":"a","instances":[1],"signature_name":"b"}',
        b'{"instances":[1],"x":1}',
        b'{"x":[1]}',
        b'{"Instances":[1]}',
        b'{"signature_name":"a\\u0041","instances":[1]}',
        b'{"signature_name":1,"instances":[1]}',
        b'{"instances":[1]}x',
        b'{"instances":[1]',
        b'{"instances":[1],}',
        b'{,"instances":[1]}',
        b'"instances":[1]}',
        b'\xef\xbb\xbf{"instances":[1]}',
        b'\x0b{"instances":[1]}',
        b'{\x0c"instances":[1]}',
        b'{"instances"\x0b:[1]}',
        b'{"instances":\x0b[1]}',
        b'{"instances":[1]\x0c}',
        b'{"instances":[1]}\x0b',
        b'{"instances":[1] "signature_name":"a"}',
        b'{"signature_name":"a" "instances":[1]}',
        b'{"signature_name"\x0b:"a","instances":[1]}',
        b"[1]",
        b"",
        b"{}",
        b"]",
    ],
)
def test_other_bodies_are_left_alone(body: bytes) -> None:
    assert number_body(body) is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("1.0", {"float", "double"}),
        ("1e2", {"float", "double"}),
        ("-0.0", {"float", "double"}),
        ("1e39", {"float", "double"}),
        ("-0", {"float", "double", *WHOLE}),
        ("255", {"float", "double", *WHOLE}),
        ("256", {"float", "double", *WHOLE}),
        ("2147483647", {"float", "double", *WHOLE}),
        ("-1", {"float", "double", *NARROW, "int64"}),
        ("-2147483648", {"float", "double", *NARROW, "int64"}),
        ("2147483648", {"float", "double", "int64", "uint32", "uint64"}),
        ("4294967296", {"float", "double", "int64", "uint64"}),
        ("-2147483649", {"float", "double", "int64"}),
        ("9223372036854775807", {"float", "double", "int64", "uint64"}),
        ("9223372036854775808", {"float", "double", "uint64"}),
        ("18446744073709551615", {"float", "double", "uint64"}),
        ("18446744073709551616", set()),
        ("9007199254740993", {"float", "double", "int64", "uint64"}),
    ],
)
def test_dtypes_of_bodies(text: str, taken: set[str]) -> None:
    for name in READABLE:
        assert check_body(f'{{"instances":[1,{text}]}}'.encode(), BY_NAME[name]) == (name in taken)
        check_body(f'{{"instances":[{text}]}}'.encode(), BY_NAME[name])


def test_numbers_too_large_for_64_bits_are_still_right() -> None:
    for digits in ("18446744073709551616", "-9223372036854775809", "1" + "0" * 300):
        body = f'{{"instances":[{digits}, 1.5]}}'.encode()
        check_body(body, BY_NAME["double"])
        assert parse_document(body)["instances"][0] == float(digits)


bits = st.sampled_from(
    [*"[],", *"[],", "[[", "]]", "],[", " ", "\n", "-", "+", ".", "e", "0", "1", "7", "1.5", "1e400", "-3", "\x0b"]
)


@settings(deadline=None, max_examples=1000)
@given(st.lists(bits, max_size=12).map("".join), st.sampled_from(NUMERIC))
@example("],[", BY_NAME["float"])
@example("1],[1", BY_NAME["float"])
def test_brackets_and_commas_in_any_order(inside: str, dtype: DType) -> None:
    check_body(f'{{"instances":[{inside}]}}'.encode(), dtype)


def written(value: Any, spaces: Iterator[str]) -> str:
    if isinstance(value, list):
        return (
            f"[{next(spaces)}"
            + f"{next(spaces)},{next(spaces)}".join(written(item, spaces) for item in value)
            + f"{next(spaces)}]"
        )
    return json.dumps(value)


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        regular(finite),
        regular(st.integers(-(1 << 63), (1 << 64) - 1)),
        regular(st.integers(-9, 9) | finite | st.integers()),
    ),
    st.sampled_from(NUMERIC),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_arrays_with_one_mistake(value: list[Any], dtype: DType, random: Any, data: st.DataObject) -> None:
    """A right body is taken rightly; with one character dropped, doubled or changed it is refused or still taken rightly."""

    def spaces() -> Iterator[str]:
        while True:
            yield random.choice(["", "", "", " ", "\n\t"])

    body = f'{{"instances":{written(value, spaces())}}}'.encode()
    check_body(body, dtype)
    at = data.draw(st.integers(0, len(body) - 1))
    change = data.draw(st.sampled_from([b"", body[at : at + 1] * 2, b",", b"[", b"]", b" ", b"-", b"1", b".", b"e"]))
    check_body(body[:at] + change + body[at + 1 :], dtype)


def test_large_bodies() -> None:
    random = np.random.default_rng(1)
    array = random.standard_normal((64, 28, 28)).astype("<f4")
    body = json.dumps({"instances": array.tolist()}).encode()
    assert len(body) > json_arrays.SMALLEST_NUMBER_BODY
    whole = number_body(body)
    assert whole is not None
    tensor = whole.tensor(BY_NAME["float"])
    assert tensor is not None
    assert not isinstance(tensor.data, list)
    assert tensor.data.tobytes() == array.tobytes()


def test_a_body_gives_its_tensor_more_than_once() -> None:
    """The dtype may be asked for again: what was given before stays."""
    whole = number_body(b'{"instances":[1,2,3]}')
    assert whole is not None
    first, second = whole.tensor(BY_NAME["double"]), whole.tensor(BY_NAME["double"])
    assert first is not None and second is not None
    assert not isinstance(first.data, list)
    assert first.data.tolist() == [1, 2, 3]
    assert math.prod(second.shape) == 3
