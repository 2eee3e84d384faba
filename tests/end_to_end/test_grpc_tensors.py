"""Tensors on the wire, in every form that TensorFlow's own library reads, there and back through real models."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end.conftest import write_config
from end_to_end.grpc_stubs import Refusal, Stubs, floats, predict_request, tensor, types_pb2
from end_to_end.running_server import RunningServer

SERVED = ("identity", "text", "two_inputs", "scalar", "echo_big")

#: Type, its field, the values of two rows of two as the field has them, and the same as bytes.
TYPES: list[tuple[str, str, list[Any], bytes]] = [
    ("HALF", "half_val", [0x3C00, 0xFC00, 0x0001, 0x7E01], struct.pack("<4H", 0x3C00, 0xFC00, 0x0001, 0x7E01)),
    ("BFLOAT16", "half_val", [0x3F80, 0xFF80, 0x0001, 0x7FC1], struct.pack("<4H", 0x3F80, 0xFF80, 0x0001, 0x7FC1)),
    ("FLOAT", "float_val", [1.5, -0.0, float("inf"), 1e-45], struct.pack("<4f", 1.5, -0.0, float("inf"), 1e-45)),
    ("DOUBLE", "double_val", [0.1, -0.0, 1e308, 5e-324], struct.pack("<4d", 0.1, -0.0, 1e308, 5e-324)),
    ("INT8", "int_val", [0, -1, 127, -128], struct.pack("<4b", 0, -1, 127, -128)),
    ("INT16", "int_val", [0, -1, 32767, -32768], struct.pack("<4h", 0, -1, 32767, -32768)),
    ("INT32", "int_val", [0, -1, 2**31 - 1, -(2**31)], struct.pack("<4i", 0, -1, 2**31 - 1, -(2**31))),
    ("INT64", "int64_val", [0, -1, 2**63 - 1, -(2**63)], struct.pack("<4q", 0, -1, 2**63 - 1, -(2**63))),
    ("UINT8", "int_val", [0, 1, 128, 255], struct.pack("<4B", 0, 1, 128, 255)),
    ("UINT16", "int_val", [0, 1, 32768, 65535], struct.pack("<4H", 0, 1, 32768, 65535)),
    ("UINT32", "uint32_val", [0, 1, 2**31, 2**32 - 1], struct.pack("<4I", 0, 1, 2**31, 2**32 - 1)),
    ("UINT64", "uint64_val", [0, 1, 2**63, 2**64 - 1], struct.pack("<4Q", 0, 1, 2**63, 2**64 - 1)),
    ("BOOL", "bool_val", [True, False, False, True], b"\x01\x00\x00\x01"),
    (
        "COMPLEX64",
        "scomplex_val",
        [1.0, -2.0, 0.5, 0.0, -0.0, 3.0, 4.0, 5.0],
        np.array([1, -2, 0.5, 0, -0.0, 3, 4, 5], "<f4").tobytes(),
    ),
    (
        "COMPLEX128",
        "dcomplex_val",
        [0.1, -2.0, 0.5, 0.0, -0.0, 3.0, 4.0, 5.0],
        np.array([0.1, -2, 0.5, 0, -0.0, 3, 4, 5], "<f8").tobytes(),
    ),
    (
        "STRING",
        "string_val",
        [b"", b"\xff\x00", b"a" * 200, "é".encode()],
        b"\x00\x02\xc8\x01\x02\xff\x00" + b"a" * 200 + "é".encode(),
    ),
]
NAMES = [name for name, *_ in TYPES]
FIELDS = {name: field for name, field, *_ in TYPES}
COMPLEX = ("COMPLEX64", "COMPLEX128")
each_type = pytest.mark.parametrize(("name", "field", "values", "content"), TYPES, ids=NAMES)


@pytest.fixture(scope="module")
def flag(models: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    config = tmp_path_factory.mktemp("config") / "models.config"
    return write_config(config, {name: models / name for name in SERVED})


@pytest.fixture(scope="module")
def stubs(flag: str) -> Iterator[Stubs]:
    with RunningServer(flag, grpc=True) as server, Stubs(server.grpc_port) as found:
        yield found


def answer(stubs: Stubs, sent: Any) -> Any:
    """What the identity of this type makes of it."""
    signature = types_pb2.DataType.Name(sent.dtype).removeprefix("DT_").lower()
    (output,) = stubs.call(predict_request("identity", {"x": sent}, signature)).outputs.values()
    return output


def shape_of(message: Any) -> tuple[int, ...]:
    return tuple(dim.size for dim in message.tensor_shape.dim)


def check_typed(message: Any, name: str, shape: Sequence[int], values: Sequence[Any]) -> None:
    """Every element in the type's field, one by one, and no other field."""
    assert bytes_of(message) == bytes_of(tensor(name, shape, **{FIELDS[name]: values}))


def bytes_of(message: Any) -> bytes:
    """Not the message itself: NaN is not equal to NaN."""
    data: bytes = message.SerializeToString(deterministic=True)
    return data


@each_type
def test_typed_fields(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    check_typed(answer(stubs, tensor(name, (2, 2), **{field: values})), name, (2, 2), values)


@each_type
def test_content(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    """Typed fields come back all the same."""
    check_typed(answer(stubs, tensor(name, (2, 2), content)), name, (2, 2), values)


@each_type
def test_content_comes_before_typed_fields(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    both = tensor(name, (2, 2), content, **{field: values[:1] * 4})
    check_typed(answer(stubs, both), name, (2, 2), values)


@each_type
def test_content_of_another_length(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    for wrong in (content[:-1], content + b"\0", content[:1] * 3):
        request = predict_request("identity", {"x": tensor(name, (2, 2), wrong, **{field: values})}, name.lower())
        assert stubs.refusal(request) == Refusal("INVALID_ARGUMENT", "tensor parsing error: x")


@each_type
def test_short_lists_go_on_with_their_last_value(
    stubs: Stubs, name: str, field: str, values: list[Any], content: bytes
) -> None:
    of_one = 2 if name in COMPLEX else 1  # values of an element
    for count in (1, 2, 3):
        sent = values[: count * of_one]
        expected = sent + sent[-of_one:] * (4 - count)
        check_typed(answer(stubs, tensor(name, (2, 2), **{field: sent})), name, (2, 2), expected)


@each_type
def test_no_values_are_zeros(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    zero: dict[str, Any] = {"STRING": b"", "BOOL": False}
    expected = [zero.get(name, 0)] * (8 if name in COMPLEX else 4)
    check_typed(answer(stubs, tensor(name, (2, 2))), name, (2, 2), expected)


@each_type
def test_surplus_values_are_ignored(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    check_typed(answer(stubs, tensor(name, (2, 2), **{field: values * 2})), name, (2, 2), values)
    half = len(values) // 2
    check_typed(answer(stubs, tensor(name, (1, 2), **{field: values})), name, (1, 2), values[:half])


@each_type
def test_tensors_without_elements(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    """They may carry anything."""
    for extra in ({}, {field: values}, {"content": content}, {"content": b"\xff"}):
        check_typed(answer(stubs, tensor(name, (0, 2), **extra)), name, (0, 2), [])


@each_type
def test_fields_of_other_types_are_ignored(stubs: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    others: dict[str, Any] = {"float_val": [7.0], "int_val": [7], "string_val": [b"7"], "int64_val": [7]}
    others.pop(field, None)
    check_typed(answer(stubs, tensor(name, (2, 2), **{field: values}, **others)), name, (2, 2), values)


@pytest.mark.parametrize(
    ("name", "field", "sent", "received"),
    [
        ("INT8", "int_val", [128, 255, 256, -129], [-128, -1, 0, 127]),
        ("UINT8", "int_val", [256, -1, 2**31 - 1, -(2**31)], [0, 255, 255, 0]),
        ("INT16", "int_val", [32768, 65535, 65536, -32769], [-32768, -1, 0, 32767]),
        ("UINT16", "int_val", [65536, -1, 2**31 - 1, -(2**31)], [0, 65535, 65535, 0]),
        ("HALF", "half_val", [0x13C00, -1, 0x7FFF0001, 0x10000], [0x3C00, 0xFFFF, 0x0001, 0]),
    ],
)
def test_narrow_numbers_wrap(stubs: Stubs, name: str, field: str, sent: list[int], received: list[int]) -> None:
    check_typed(answer(stubs, tensor(name, (2, 2), **{field: sent})), name, (2, 2), received)


def test_an_odd_number_of_parts_of_complex_numbers(stubs: Stubs) -> None:
    """The lone one is no value."""
    for name, field in (("COMPLEX64", "scomplex_val"), ("COMPLEX128", "dcomplex_val")):
        sent = tensor(name, (1, 2), **{field: [1.0, 2.0, 3.0]})
        check_typed(answer(stubs, sent), name, (1, 2), [1.0, 2.0, 1.0, 2.0])


def test_no_shape_is_rank_0(stubs: Stubs) -> None:
    for sent in (tensor("FLOAT", (), float_val=[1.5]), tensor("FLOAT", (), struct.pack("<f", 1.5)), floats(1.5, shape=())):
        sent.ClearField("tensor_shape")
        output = stubs.call(predict_request("scalar", {"x": sent})).outputs["y"]
        assert output.HasField("tensor_shape")
        assert (shape_of(output), list(output.float_val)) == ((), [3.0])


def test_an_unknown_rank_is_not_looked_at(stubs: Stubs) -> None:
    """TensorFlow's library does not either, where it reads a tensor."""
    sent = floats(1.5, 2.5, shape=(1, 2))
    sent.tensor_shape.unknown_rank = True
    check_typed(answer(stubs, sent), "FLOAT", (1, 2), [1.5, 2.5])


def test_names_of_dimensions_are_not_looked_at(stubs: Stubs) -> None:
    sent = floats(1.5, 2.5, shape=(1, 2))
    sent.tensor_shape.dim[0].name = "batch"
    sent.version_number = 0
    check_typed(answer(stubs, sent), "FLOAT", (1, 2), [1.5, 2.5])


def test_more_elements_than_rows_of_the_signature(stubs: Stubs) -> None:
    numbers = np.arange(200_000, dtype="<f4").reshape(-1, 2)
    for sent in (tensor("FLOAT", numbers.shape, numbers.tobytes()), floats(*numbers.ravel().tolist(), shape=numbers.shape)):
        output = answer(stubs, sent)
        assert shape_of(output) == numbers.shape
        assert np.array_equal(np.array(output.float_val, "<f4"), numbers.ravel())


def test_tens_of_megabytes(stubs: Stubs) -> None:
    image = np.random.default_rng(1).random((2, 1024, 1024, 3), np.float32)
    request = predict_request("echo_big", {"image": tensor("FLOAT", image.shape, image.tobytes())})
    output = stubs.call(request).outputs["y"]
    assert shape_of(output) == image.shape
    assert np.array_equal(np.array(output.float_val, np.float32), image.ravel() * 2)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1, 1), (0,), ()])
def test_strings_of_any_shape(stubs: Stubs, shape: tuple[int, ...]) -> None:
    words = [b"a", b"", b"c\xff"][: int(np.prod(shape))]
    answers = stubs.call(predict_request("text", {"x": tensor("STRING", shape, string_val=words)})).outputs
    assert {shape_of(output) for output in answers.values()} == {shape}
    assert list(answers["upper"].string_val) == [word.upper() for word in words]
    assert list(answers["length"].int_val) == [len(word) for word in words]


BOTH = {"a": floats(1.0, 2.0, 3.0, shape=(1, 3)), "b": tensor("INT32", (1,), int_val=[10])}


@pytest.mark.parametrize(
    ("wanted", "outputs"),
    [
        ([], {"sum", "count"}),
        (["sum"], {"sum"}),
        (["count"], {"count"}),
        (["sum", "count"], {"sum", "count"}),
        (["count", "sum"], {"sum", "count"}),
    ],
)
def test_the_outputs_that_are_asked_for(stubs: Stubs, wanted: list[str], outputs: set[str]) -> None:
    found = stubs.call(predict_request("two_inputs", BOTH, outputs=wanted)).outputs
    assert set(found) == outputs
    if "sum" in outputs:
        check_typed(found["sum"], "FLOAT", (1, 3), [11.0, 12.0, 13.0])
    if "count" in outputs:
        check_typed(found["count"], "INT64", (1,), [10])


@pytest.fixture(scope="module")
def in_content(flag: str) -> Iterator[Stubs]:
    """Of a server whose answers have tensor_content."""
    content = "--enable_serialization_as_tensor_content"
    with RunningServer(flag, content, grpc=True) as server, Stubs(server.grpc_port) as found:
        yield found


@each_type
def test_answers_in_content(in_content: Stubs, name: str, field: str, values: list[Any], content: bytes) -> None:
    expected = tensor(name, (2, 2), content)
    for sent in (expected, tensor(name, (2, 2), **{field: values})):
        assert answer(in_content, sent) == expected
    assert answer(in_content, tensor(name, (0, 2))) == tensor(name, (0, 2))


def test_outputs_in_content(in_content: Stubs) -> None:
    found = in_content.call(predict_request("two_inputs", BOTH, outputs=["count"])).outputs
    assert dict(found) == {"count": tensor("INT64", (1,), struct.pack("<q", 10))}
    scalar = in_content.call(predict_request("scalar", {"x": floats(1.5, shape=())})).outputs["y"]
    assert scalar == tensor("FLOAT", (), struct.pack("<f", 3.0))
