"""Inputs that are made up, and bodies that are made of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.http_requests import http_message, http_request
from bench.harness.payload import Inputs, Synthetic, shape_of
from bench.harness.target import PreparationError, Target
from bench.harness.tensor_bytes import tensor_bytes, tensors_of
from bench.harness.v2_grpc import v2_message, v2_message_outputs
from bench.harness.v2_http import v2_binary, v2_json, v2_outputs
from bench.harness.v2_tensors import listed_array, raw_array, raw_bytes, v2_name
from ringserve.client.tensors import array_of, tensor_of
from ringserve.signature import Signature

URL = "http://127.0.0.1:1"


def signature(**inputs: tuple[str, tuple[int, ...] | None]) -> Signature:
    return Signature.of(inputs, {"y": ("float", (-1,))})


def arrays(inputs: Inputs) -> dict[str, Any]:
    return {alias: array_of(*tensor) for alias, tensor in inputs.items()}


def same(one: Inputs, other: Inputs) -> bool:
    left, right = arrays(one), arrays(other)
    return left.keys() == right.keys() and all(
        left[alias].dtype == right[alias].dtype and np.array_equal(left[alias], right[alias]) for alias in left
    )


def test_shapes_types_and_limits() -> None:
    wanted = signature(
        a=("float", (-1, 3)), b=("int64", (-1,)), c=("bool", (-1,)), d=("string", (-1, 2)), e=("half", ()), f=("uint8", (4,))
    )
    first, *others = [arrays(each) for each in Synthetic(rows=4, below=7, count=5).inputs(wanted)]
    assert {alias: array.shape for alias, array in first.items()} == {
        "a": (4, 3), "b": (4,), "c": (4,), "d": (4, 2), "e": (), "f": (4,),
    }  # fmt: skip
    assert [first[alias].dtype.name for alias in "abcdef"] == ["float32", "int64", "bool", "object", "float16", "uint8"]
    for each in (first, *others):
        assert each["b"].min() >= 0 and each["b"].max() < 7
        assert each["a"].min() >= 0 and each["a"].max() < 1
        assert all(isinstance(text, bytes) and text for text in each["d"].ravel())
    assert all(not np.array_equal(first["a"], other["a"]) for other in others)


def test_the_same_seed_makes_the_same() -> None:
    wanted = signature(x=("float", (-1, 3)), text=("string", (-1,)))
    made = [Synthetic(seed=seed).inputs(wanted) for seed in (1, 1, 2)]
    assert all(map(same, made[0], made[1]))
    assert not any(map(same, made[0], made[2]))


@pytest.mark.parametrize(
    ("declared", "given_shape", "shape"),
    [
        ((-1, -1), (128,), (2, 128)),
        ((-1, -1), (5, 128), (5, 128)),
        (None, (4,), (4,)),
        ((-1, 3), (3,), (2, 3)),
        ((), None, ()),
        ((2, 3), None, (2, 3)),
    ],
)
def test_shapes_that_are_said(declared: Any, given_shape: Any, shape: tuple[int, ...]) -> None:
    shapes = {} if given_shape is None else {"x": given_shape}
    ((_, found, _),) = Synthetic(rows=2, count=1, shapes=shapes).inputs(signature(x=("float", declared)))[0].values()
    assert tuple(found) == shape


@pytest.mark.parametrize(
    ("declared", "given_shape", "why"),
    [
        ((-1, -1), None, r"--shape x:128"),
        (None, None, "--shape x:1,3"),
        ((-1, 3), (4,), r"\[2,4\] does not fit input 'x': \[-1,3\]"),
        ((-1, 3), (1, 2, 3), "does not fit"),
        ((3, 3), None, "not 2 rows"),
    ],
)
def test_shapes_that_are_not_known_or_do_not_fit(declared: Any, given_shape: Any, why: str) -> None:
    shapes = {} if given_shape is None else {"x": given_shape}
    with pytest.raises(PreparationError, match=why):
        Synthetic(rows=2, shapes=shapes).inputs(signature(x=("float", declared)))


def test_a_shape_of_no_input() -> None:
    with pytest.raises(PreparationError, match="no input z, only x"):
        Synthetic(shapes={"z": (1,)}).inputs(signature(x=("float", (-1,))))


def test_shapes_as_they_are_typed() -> None:
    assert shape_of("x:4,128") == ("x", (4, 128))
    assert shape_of("serving:x:3") == ("serving:x", (3,))
    assert shape_of("x:") == ("x", ())
    for wrong in ("x", ":3", "x:a", "x:1,,2", "x:-1"):
        with pytest.raises(ValueError, match="no input and its shape"):
            shape_of(wrong)


def body_of(target: Target, inputs: Inputs, of: Signature) -> Any:
    head, _, body = http_request(target, inputs, of).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}" in head.decode().lower()
    return json.loads(body)


def test_json_by_rows_and_by_columns() -> None:
    inputs = {"a": tensor_of(np.array([[1, 2.5]], np.float32)), "b": tensor_of(np.array([b"\xff"], object))}
    of = signature(a=("float", (-1, 2)), b=("string", (-1,)))
    text = {"b64": "/w=="}
    assert body_of(Target(URL, "m"), inputs, of) == {"instances": [{"a": [1.0, 2.5], "b": text}]}
    named = Target(URL, "m", signature="serving_default")
    assert body_of(named, {"a": inputs["a"]}, of)["signature_name"] == "serving_default"
    assert body_of(Target(URL, "m"), {"a": inputs["a"]}, of) == {"instances": [[1.0, 2.5]]}
    columns = {"signature_name": "serving_default", "inputs": {"a": [[1.0, 2.5]], "b": [text]}}
    assert body_of(Target(URL, "m", form="columns"), inputs, of) == columns
    uneven = {**inputs, "b": tensor_of(np.array([b"a", b"b"], object))}
    assert "inputs" in body_of(Target(URL, "m"), uneven, of)


def test_a_floats_own_digits_are_written() -> None:
    message = http_request(Target(URL, "m"), {"x": tensor_of(np.array([0.1], np.float32))}, signature(x=("float", (-1,))))
    assert message.endswith(b'{"instances":[0.1]}')


def test_paths_and_headers() -> None:
    head = http_message(Target("http://[::1]:80/prefix", "a b", label="x/y", headers={"X-A": "1"}), b"{}", "text/x").decode()
    assert head.startswith("POST /prefix/v1/models/a%20b/labels/x%2Fy:predict HTTP/1.1\r\nHost: [::1]:80\r\n")
    assert "\r\nX-A: 1\r\n" in head
    with pytest.raises(PreparationError, match="end of a line"):
        http_message(Target(URL, "m", headers={"X": "1\r\nY: 2"}), b"", "text/x")


def test_headers_that_are_given_take_the_place_of_others_however_they_are_written() -> None:
    head = http_message(Target(URL, "m", headers={"host": "other", "CONTENT-TYPE": "a/b"}), b"{}", "text/x").decode()
    names = [line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if ":" in line]
    assert sorted(names) == ["content-length", "content-type", "host"]
    assert "host: other\r\n" in head
    with pytest.raises(PreparationError, match="Content-Length"):
        http_message(Target(URL, "m", headers={"content-length": "5"}), b"{}", "text/x")
    with pytest.raises(PreparationError, match="no form"):
        http_request(Target(URL, "m", form="yaml"), {}, signature())


TYPES = (
    "float",
    "double",
    "half",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
)


@st.composite
def tensors(draw: st.DrawFn) -> Inputs:
    names = draw(st.lists(st.sampled_from(("a", "b", "c")), min_size=1, unique=True))
    wanted = signature(**{
        name: (draw(st.sampled_from(TYPES)), tuple(draw(st.lists(st.integers(0, 3), max_size=3)))) for name in names
    })  # fmt: skip
    (inputs,) = Synthetic(rows=1, count=1, seed=draw(st.integers(0, 1000))).inputs(wanted) if names else ({},)
    return inputs


@given(tensors())
def test_tensors_as_bytes_and_back(inputs: Inputs) -> None:
    assert same(inputs, tensors_of(tensor_bytes(inputs)))


@given(tensors())
def test_tensors_of_v2(inputs: Inputs) -> None:
    """Requests and answers have their tensors in one form, so a request can be read as an answer."""
    expected = {alias: array_of(*tensor) for alias, tensor in inputs.items()}
    document = json.loads(v2_json(inputs))
    binary, length = v2_binary(inputs)
    header = json.loads(binary[:length])
    tail = binary[length:]
    answer = {"outputs": header["inputs"]}
    rewritten = json.dumps(answer).encode()
    found = [
        v2_outputs(json.dumps({"outputs": document["inputs"]}).encode(), 0),
        v2_outputs(rewritten + tail, len(rewritten)),
        {alias: raw_array(v2_name(tensor[0]), tuple(tensor[1]), raw_bytes(tensor)) for alias, tensor in inputs.items()},
    ]
    for each in found:
        assert each.keys() == expected.keys()
        for alias, array in expected.items():
            assert each[alias].dtype == array.dtype
            assert each[alias].shape == array.shape
            assert np.array_equal(each[alias], array)


def test_v2_messages_as_protobuf_reads_them() -> None:
    inputs = {"a": tensor_of(np.array([[1, 2]], np.float32)), "t": tensor_of(np.array([b"x", b""], object))}
    message = v2_message("m", 3, inputs)
    assert b"\x0a\x01m\x12\x013" in message
    # A request's `inputs` and contents have other numbers than an answer's: 5 in both, 7 and 6.
    answer = message.replace(b"\x3a\x08", b"\x32\x08").replace(b"\x3a\x09", b"\x32\x09")
    found = v2_message_outputs(answer)
    assert found["a"].tolist() == [[1, 2]]
    assert found["t"].tolist() == [b"x", b""]


@pytest.mark.parametrize(
    ("name", "shape", "data"),
    [
        ("FP32", (2,), b"1234"),
        ("FP33", (1,), b"1234"),
        ("FP32", (-1,), b""),
        ("BYTES", (1,), b"\x05\0\0\0abc"),
        ("BYTES", (1,), b"\x05\0"),
        ("BYTES", (2,), b"\x01\0\0\0a"),
        ("BYTES", (1,), b"\xff\xff\xff\xffa"),
    ],
)
def test_bytes_that_are_no_tensor(name: str, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(ValueError):
        raw_array(name, shape, data)


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":400}}]}abcd', 94),
        (b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":-4}}]}abcd', 93),
        (b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP32"}]}', 0),
        (b"{}", 0),
        (b"{}", 500),
        (b"[]", 0),
    ],
)
def test_bodies_that_are_no_answer_of_v2(body: bytes, length: int) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        v2_outputs(body, length)


def test_listed_values() -> None:
    assert listed_array("BYTES", (2,), ["a", "b"]).tolist() == [b"a", b"b"]
    assert listed_array("FP32", (2, 1), [1, 2]).tolist() == [[1.0], [2.0]]
    with pytest.raises(ValueError, match="fill"):
        listed_array("BYTES", (3,), ["a"])
