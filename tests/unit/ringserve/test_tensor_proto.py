"""TensorProtos against a plain model of the rules, and against TensorFlow itself."""

from __future__ import annotations

import math
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.tensor import BY_NAME, DTYPES, STRING
from ringserve.tensor_proto import DEFAULT_MOST_BYTES, DecodedTensor
from ringserve.tensor_proto_reader import UnreadTensor, read_tensor

TensorProto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto

#: For each type its field, and how one of the field's values is stored: the rule book of the plain model.
FIELDS = {
    "float": ("float_val", "f"), "double": ("double_val", "d"), "int32": ("int_val", "i"), "qint32": ("int_val", "i"),
    "uint8": ("int_val", "B"), "quint8": ("int_val", "B"), "int8": ("int_val", "b"), "qint8": ("int_val", "b"),
    "uint16": ("int_val", "H"), "quint16": ("int_val", "H"), "int16": ("int_val", "h"), "qint16": ("int_val", "h"),
    "half": ("half_val", "H"), "bfloat16": ("half_val", "H"), "int64": ("int64_val", "q"), "bool": ("bool_val", "?"),
    "uint32": ("uint32_val", "I"), "uint64": ("uint64_val", "Q"),
    "complex64": ("scomplex_val", "f"), "complex128": ("dcomplex_val", "d"),
}  # fmt: skip

WHOLE = {"B": (0, 1 << 8), "b": (-(1 << 7), 1 << 7), "H": (0, 1 << 16), "h": (-(1 << 15), 1 << 15)}


def proto(dtype: str, shape: tuple[int, ...] = (), **fields: Any) -> Any:
    made = TensorProto(dtype=BY_NAME[dtype].number, **fields)
    for dim in shape:
        made.tensor_shape.dim.add(size=dim)
    return made


def decode(made: Any, most_bytes: int = DEFAULT_MOST_BYTES) -> DecodedTensor:
    return read_tensor(made.SerializeToString(), most_bytes)


def is_slow(made: Any) -> bool:
    message = made.SerializeToString()
    return UnreadTensor(message, 0, len(message), 99).is_slow


def stored(kind: str, value: Any) -> bytes:
    """One value of a field as the bytes of an element (or of half a complex one)."""
    if kind in WHOLE:
        low, high = WHOLE[kind]
        value = (value - low) % (high - low) + low
    return struct.pack("<" + kind, value)


def expected_bytes(dtype: str, count: int, values: list[Any]) -> bytes:
    """The elements of a tensor of `count`, from these values of the type's field."""
    _, kind = FIELDS[dtype]
    parts = 2 if dtype.startswith("complex") else 1
    texts = [stored(kind, value) for value in values]
    elements = [b"".join(texts[at : at + parts]) for at in range(0, len(texts) // parts * parts, parts)]
    last = elements[-1] if elements else bytes(np.dtype(BY_NAME[dtype].numpy).itemsize)
    return b"".join((elements + [last] * count)[:count])


def field_values(kind: str) -> st.SearchStrategy[Any]:
    if kind in "fd":
        return st.floats(width=32, allow_nan=False)
    if kind == "?":
        return st.booleans()
    if kind in "IQ":
        return st.integers(0, (1 << (32 if kind == "I" else 64)) - 1)
    return st.integers(-(1 << 31), (1 << 31) - 1) if kind != "q" else st.integers(-(1 << 63), (1 << 63) - 1)


SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(st.data(), st.sampled_from(sorted(FIELDS)), SHAPES)
def test_typed_fields_repeat_the_last_value_and_ignore_what_is_too_much(
    data: st.DataObject, dtype: str, shape: tuple[int, ...]
) -> None:
    field, kind = FIELDS[dtype]
    values = data.draw(st.lists(field_values(kind), max_size=20))
    decoded = decode(proto(dtype, shape, **{field: values}))
    assert (decoded.dtype, decoded.shape) == (BY_NAME[dtype].number, shape)
    assert isinstance(decoded.values, np.ndarray)
    assert decoded.values.dtype == np.dtype(BY_NAME[dtype].numpy)
    assert decoded.values.tobytes() == expected_bytes(dtype, math.prod(shape), values)


@given(st.data(), st.sampled_from(sorted(set(FIELDS) - {"bool"})), SHAPES)
def test_tensor_content_is_a_view_of_exactly_its_bytes(data: st.DataObject, dtype: str, shape: tuple[int, ...]) -> None:
    itemsize = np.dtype(BY_NAME[dtype].numpy).itemsize
    needed = math.prod(shape) * itemsize
    content = data.draw(st.binary(min_size=needed, max_size=needed))
    decoded = decode(proto(dtype, shape, tensor_content=content))
    assert isinstance(decoded.values, np.ndarray)
    assert decoded.values.tobytes() == content
    assert not content or decoded.values.base is not None, "a view"
    if needed:
        with pytest.raises(ServingError, match="tensor_content has"):
            decode(proto(dtype, shape, tensor_content=content + b"x"))


def content_of(strings: list[bytes]) -> bytes:
    lengths = bytearray()
    for string in strings:
        length = len(string)
        while length >= 0x80:
            lengths.append(length & 0x7F | 0x80)
            length >>= 7
        lengths.append(length)
    return bytes(lengths) + b"".join(strings)


@given(st.lists(st.binary(max_size=300), max_size=6), SHAPES)
def test_strings(strings: list[bytes], shape: tuple[int, ...]) -> None:
    count = math.prod(shape)
    whole = (strings + [strings[-1] if strings else b""] * count)[:count]
    assert decode(proto("string", shape, string_val=strings)) == DecodedTensor(STRING.number, shape, whole)
    if whole:
        assert decode(proto("string", shape, tensor_content=content_of(whole))).values == whole


@given(st.sampled_from([7, 1, 10]), SHAPES, st.binary(max_size=40))
def test_any_content_is_read_or_refused(number: int, shape: tuple[int, ...], content: bytes) -> None:
    made = proto(DTYPES[number].name, shape, tensor_content=content)
    try:
        decoded = decode(made)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
    else:
        assert len(decoded.values) == math.prod(shape)


@pytest.mark.parametrize(
    "made",
    [
        TensorProto(),
        TensorProto(dtype=101),
        TensorProto(dtype=20),
        TensorProto(dtype=21),
        TensorProto(dtype=9999),
        proto("float", (-1,)),
        proto("float", (2, -3)),
        proto("float", (1,) * 255),
        proto("float", (1 << 62, 2)),
        proto("float", (1 << 62, 2, 0)),
        proto("float", tensor_content=b"123"),
        proto("bool", tensor_content=b"\x02"),
        proto("string", (2,), tensor_content=b"\x01\x00"),
        proto("string", (2,), tensor_content=b"\x01\x00ab"),
        proto("string", (1,), tensor_content=b"\x80"),
        proto("string", (1,), tensor_content=b"\x81\x80\x80\x80\x80\x00a"),
        proto("string", (1 << 40,), tensor_content=b"\x00"),
    ],
)
def test_what_tensorflow_can_not_parse_is_refused(made: Any) -> None:
    with pytest.raises(ServingError) as caught:
        decode(made)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "made",
    [
        proto("float", (1 << 40,), float_val=[1.0]),
        proto("float", (1 << 61,)),
        proto("double", (1 << 20,)),
        proto("string", (1 << 62,)),
        proto("string", (1000,), string_val=[b"x" * 10_000]),
        proto("string", (100_000,)),
        proto("string", (100_000,), string_val=[b"x"]),
        proto("string", (100_000,), string_val=[b""] * 100_000),
        proto("string", (100_000,), tensor_content=bytes(100_000)),
    ],
)
def test_a_few_bytes_can_not_ask_for_much_memory(made: Any) -> None:
    with pytest.raises(ServingError) as caught:
        decode(made, most_bytes=1 << 22)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_the_limit_is_for_what_the_message_does_not_carry() -> None:
    assert len(decode(proto("float", (100,), tensor_content=bytes(400)), most_bytes=10).values) == 100
    assert len(decode(proto("float", (100,), float_val=[0.5] * 100), most_bytes=10).values) == 100
    assert len(decode(proto("float", (100,)), most_bytes=400).values) == 100


def test_strings_that_the_message_does_not_carry() -> None:
    most = 1 << 40
    for made in (proto("string", (33_000_000,)), proto("string", ((1 << 20) + 2,), string_val=[b"x"])):
        with pytest.raises(ServingError, match=r"strings that the message does not carry; expected at most 1048576"):
            decode(made, most)
    assert decode(proto("string", ((1 << 20) + 1,), string_val=[b"x"]), most).values == [b"x"] * ((1 << 20) + 1)


def test_many_values() -> None:
    strings = [b"%d" % index for index in range(50_000)]
    assert decode(proto("string", (50_000,), string_val=strings)).values == strings
    assert decode(proto("string", (40_001,), string_val=strings)).values == strings[:40_001]
    assert decode(proto("string", (50_002,), string_val=strings)).values == [*strings, strings[-1], strings[-1]]
    numbers = [index * 3 - 100_000 for index in range(100_001)]
    decoded = decode(proto("int64", (100_003,), int64_val=numbers)).values
    assert list(decoded) == [*numbers, numbers[-1], numbers[-1]]
    assert list(decode(proto("int16", (99_999,), int_val=numbers)).values) == list(
        np.array(numbers[:99_999]).astype(np.int16)
    )
    pairs = [float(index) for index in range(100_001)]
    decoded = decode(proto("complex64", (50_000,), scomplex_val=pairs)).values
    assert [decoded[0], decoded[-1]] == [1j, 99_998 + 99_999j]


def test_which_messages_take_long() -> None:
    for made in (
        proto("float", (1 << 21,)),
        proto("string", (1 << 17,)),
        proto("int64", (600_000,), int64_val=range(600_000)),
        proto("string", (100_000,), string_val=[b""] * 100_000),
    ):
        assert is_slow(made)
    for made in (
        TensorProto(),
        proto("float", (3,), float_val=[1, 2, 3]),
        proto("int64", (100_000,), int64_val=range(100_000)),
        proto("string", (2,), string_val=[b"a"]),
        proto("float", (-1,)),
        proto("float", (1 << 62, 1 << 62)),
        TensorProto(dtype=9999),
    ):
        assert not is_slow(made), "quick to read, or to refuse"


ORACLE = """
import os, pickle, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import tensorflow as tf
answers = []
for number, message in pickle.load(open(sys.argv[1], "rb")):
    try:
        tensor = tf.io.parse_tensor(message, tf.as_dtype(number)).numpy()
    except tf.errors.InvalidArgumentError:
        answers.append(None)
        continue
    if number == tf.string.as_datatype_enum:
        answers.append((tensor.shape if hasattr(tensor, "shape") else (),
                        tensor.reshape(-1).tolist() if hasattr(tensor, "shape") else [tensor]))
    else:
        answers.append((tensor.shape, tensor.tobytes()))
pickle.dump(answers, open(sys.argv[2], "wb"))
"""


def random_protos(number: int) -> list[Any]:
    """Messages of every type: fields too short, too long, of the wrong type; contents of right and wrong length."""
    source = random.Random(20)
    made = []
    for index in range(number):
        dtype = [*sorted(FIELDS), "string"][index % (len(FIELDS) + 1)]
        shape = tuple(source.choice((0, 1, 1, 2, 3, 3, -1 if index % 7 == 0 else 4)) for _ in range(source.randrange(4)))
        made.append(proto(dtype, shape))
        made[-1].tensor_shape.unknown_rank = index % 50 == 0
        values = source.randrange(10)
        made[-1].int_val.extend(source.randrange(-(1 << 31), 1 << 31) for _ in range(values))
        made[-1].half_val.extend(source.randrange(0, 0x17C00) for _ in range(values))
        made[-1].int64_val.extend(source.randrange(-(1 << 63), 1 << 63) for _ in range(values))
        made[-1].uint32_val.extend(source.randrange(1 << 32) for _ in range(values))
        made[-1].uint64_val.extend(source.randrange(1 << 64) for _ in range(values))
        made[-1].bool_val.extend(source.random() < 0.5 for _ in range(values))
        made[-1].string_val.extend(source.randbytes(source.randrange(5)) for _ in range(values))
        for field in ("float_val", "double_val", "scomplex_val", "dcomplex_val"):
            getattr(made[-1], field).extend(source.uniform(-9, 9) for _ in range(values))
        if index % 3 == 0:
            count = max(math.prod(shape), 0)
            if dtype == "string":
                made[-1].tensor_content = content_of([source.randbytes(source.choice((0, 3, 200))) for _ in range(count)])
            else:
                low = 2 if dtype == "bool" else 256
                nbytes = count * np.dtype(BY_NAME[dtype].numpy).itemsize
                made[-1].tensor_content = bytes(source.randrange(low) for _ in range(nbytes))
            if source.random() < 0.2:
                made[-1].tensor_content += b"\x05"
    return made


def test_tensorflow_agrees(tmp_path: Path) -> None:
    made = random_protos(1050)
    questions, answers = tmp_path / "questions", tmp_path / "answers"
    questions.write_bytes(pickle.dumps([(one.dtype, one.SerializeToString()) for one in made]))
    subprocess.run(
        [sys.executable, "-c", ORACLE, str(questions), str(answers)], check=True, capture_output=True, timeout=120
    )
    results = pickle.loads(answers.read_bytes())
    refused = 0
    for one, expected in zip(made, results, strict=True):
        try:
            decoded = decode(one)
        except ServingError:
            assert expected is None, one
            refused += 1
            continue
        assert expected is not None, one
        values = decoded.values if isinstance(decoded.values, list) else decoded.values.tobytes()
        assert (decoded.shape, values) == expected, one
    assert 50 < refused < len(made) / 2
