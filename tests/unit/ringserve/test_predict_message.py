"""Messages read from the wire against protobuf's own parser, on whatever the wire may bring."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_messages import mutated, odd_message

from ringserve import predict_message
from ringserve.errors import Code, ServingError
from ringserve.predict_message import PredictMessage, SentModelSpec, is_plain_request, read_request, read_response
from ringserve.predict_response_reader import read_predict_response
from ringserve.protobuf_wire import WireError
from ringserve.protos import message_module
from ringserve.tensor_proto_reader import UnreadTensor, read_tensor
from ringserve.tensor_proto_writer import varint

PredictRequest = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest
PredictResponse = message_module("tensorflow_serving.apis.predict_pb2").PredictResponse
TensorProto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto

MOST = 1 << 20
SEEDS = st.integers(0, 1 << 40)


def tensor_of(unread: UnreadTensor) -> Any:
    """Something to compare; a refusal's code."""
    assert isinstance(unread.is_slow, bool)
    try:
        dtype, shape, values = unread.decode(MOST)
    except ServingError as error:
        return error.code, error.message
    assert isinstance(values, list) == (dtype == 7)
    return dtype, shape, values if isinstance(values, list) else (values.dtype.str, values.tobytes())


def wire_tensor(proto: Any) -> Any:
    """The tensor as protobuf itself writes it."""
    message = proto.SerializeToString()
    return tensor_of(UnreadTensor(message, 0, len(message), 98))


def expected(message: Any, tensors: Any) -> Any:
    spec = None
    if message.HasField("model_spec"):
        choice = message.model_spec.WhichOneof("version_choice")
        version = message.model_spec.version.value if choice == "version" else None
        label = message.model_spec.version_label if choice == "version_label" else None
        spec = SentModelSpec(message.model_spec.name, version, label, message.model_spec.signature_name)
    return spec, {alias: wire_tensor(proto) for alias, proto in tensors.items()}


def has_odd_entries(message: Any, number: int) -> bool:
    """Python's protobuf leaves out entries of a map that have unknown fields; C++'s, which upstream uses, takes them."""
    return any(field.field_number == number and field.wire_type == 2 for field in UnknownFieldSet(message))


def compare(data: bytes, is_request: bool) -> bool:
    """Is it a message? Protobuf must have the same opinion, and find the same in it."""
    message_class = PredictRequest if is_request else PredictResponse
    read = read_request if is_request else read_response
    try:
        message = message_class.FromString(data)
    except DecodeError:
        message = None
    try:
        found: PredictMessage | None = read(data)
        tensors = {alias: tensor_of(unread) for alias, unread in found.tensors.items()} if found else {}
    except WireError:
        found = None
    assert (found is None) == (message is None), data.hex()
    if found is None:
        return False
    if has_odd_entries(message, 2 if is_request else 1):
        return True
    assert (found.model_spec, tensors) == expected(message, message.inputs if is_request else message.outputs), data.hex()
    if is_request:
        assert list(found.output_filter) == list(message.output_filter)
    return True


@settings(max_examples=600)
@given(SEEDS, st.booleans(), st.booleans())
def test_protobuf_agrees(seed: int, is_request: bool, is_wrong: bool) -> None:
    source = random.Random(seed)
    data = odd_message(source, (PredictRequest if is_request else PredictResponse).DESCRIPTOR)
    compare(mutated(source, data) if is_wrong else data, is_request)


def test_enough_of_them_are_messages_and_enough_are_none() -> None:
    good = 0
    for seed in range(1500):
        source = random.Random(seed)
        data = odd_message(source, PredictRequest.DESCRIPTOR)
        good += compare(mutated(source, data) if seed % 2 else data, True)
    assert 600 < good < 1200


@settings(max_examples=300)
@given(SEEDS, st.integers(0, 3))
def test_messages_of_clients_with_something_wrong(seed: int, times: int) -> None:
    source = random.Random(seed)
    data = usual(source).SerializeToString()
    for _ in range(times):
        data = mutated(source, data)
    assert compare(data, True) or times


@settings(max_examples=300)
@given(st.binary(max_size=40), st.booleans())
def test_any_bytes(data: bytes, is_request: bool) -> None:
    compare(data, is_request)


@settings(max_examples=400)
@given(SEEDS)
def test_tensors_in_odd_forms(seed: int) -> None:
    """Mostly of types that there are, and of fields of the right type."""
    source = random.Random(seed)
    data = b"\x08" + bytes([source.choice((1, 2, 3, 7, 8, 9, 10, 18, 19, 22, 23))])
    data += source.choice((b"", b"\x12\x00", b"\x12\x04\x12\x02\x08\x03", b"\x12\x08\x12\x02\x08\x02\x12\x02\x08\x01"))
    data += odd_message(source, TensorProto.DESCRIPTOR)
    compare(b"\x12" + varint(len(data) + 5) + b"\x0a\x01a\x12" + varint(len(data))[:1] + data, True)
    try:
        proto = TensorProto.FromString(data)
    except DecodeError:
        with pytest.raises(WireError):
            read_tensor(data, MOST)
    else:
        assert tensor_of(UnreadTensor(data, 0, len(data), 98)) == wire_tensor(proto)


def usual(source: random.Random) -> Any:
    """A request as clients make it."""
    request = PredictRequest()
    request.model_spec.name = "m" * source.randrange(1, 140)
    if source.random() < 0.3:
        request.model_spec.version.value = source.choice((0, 1, -1, 1 << 62))
    elif source.random() < 0.3:
        request.model_spec.version_label = "stable"
    request.output_filter.extend(["y", "ü"][: source.randrange(3)])
    for alias in ("x", "images", "a" * 130)[: source.randrange(4)]:
        proto = request.inputs[alias]
        count = source.choice((0, 1, 3, 60))
        proto.tensor_shape.dim.add(size=count)
        proto.dtype, field, values = source.choice(
            (
                (1, "float_val", [0.5] * count),
                (2, "double_val", [0.5] * (count // 2)),
                (3, "int_val", [source.randrange(-(1 << 31), 1 << 31) for _ in range(count)]),
                (9, "int64_val", [source.randrange(-(1 << 63), 1 << 63) >> 9 * (at % 7) for at in range(count)]),
                (10, "bool_val", [bool(at % 2) for at in range(count)]),
                (7, "string_val", [source.randbytes(at * 5) for at in range(count)]),
                (23, "uint64_val", [1 << at for at in range(count)]),
                (19, "half_val", [at * 700 for at in range(count)]),
            )
        )
        getattr(proto, field).extend(values)
    return request


def spec_of(*parts: bytes) -> SentModelSpec | None:
    data = b"".join([b"\x0a" + varint(len(part)) + part for part in parts])
    assert compare(data, True)
    return read_request(data).model_spec


def test_entries_with_unknown_fields() -> None:
    found = read_request(entries(b"\x12\x02\x08\x01\x18\x05"))
    assert found.tensors["x"].decode().shape == ()


def test_model_specs() -> None:
    assert read_request(b"").model_spec is None
    assert spec_of(b"") == SentModelSpec("", None, None, "")
    assert spec_of(b"\x0a\x01m", b"\x1a\x01s") == SentModelSpec("m", None, None, "s")
    assert spec_of(b"\x12\x02\x08\x05\x22\x01l") == SentModelSpec("", None, "l", "")
    assert spec_of(b"\x22\x01l\x12\x00") == SentModelSpec("", 0, None, "")
    assert spec_of(b"\x12\x02\x08\x05", b"\x12\x00") == SentModelSpec("", 5, None, "")
    assert spec_of(b"\x12\x02\x08\x05\x22\x00\x12\x00") == SentModelSpec("", 0, None, "")
    for _ in range(3):  # none of what is remembered is changed
        assert spec_of(b"\x0a\x01m\x12\x0b\x08" + b"\xff" * 9 + b"\x01") == SentModelSpec("m", -1, None, "")


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3000):
        request = PredictRequest()
        request.model_spec.name = f"m{number}"
        request.inputs["x"].dtype = 1
        request.inputs["x"].tensor_shape.dim.add(size=number)
        found = read_request(request.SerializeToString())
        assert found.model_spec is not None
        assert (found.model_spec.name, found.tensors["x"].decode().shape) == (f"m{number}", (number,))
    assert len(predict_message._specs) <= 1024


@pytest.mark.parametrize("length", [128, 300, 100_000])
def test_long_names_are_not_remembered(length: int) -> None:
    request = PredictRequest()
    request.model_spec.name = "long" * (length // 4)
    found = read_request(request.SerializeToString())
    assert found.model_spec is not None
    assert found.model_spec.name == request.model_spec.name
    assert max(map(len, predict_message._specs), default=0) <= 256


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("content", [False, True])
def test_numbers_are_views_of_the_message(wrap: Any, content: bool) -> None:
    request = PredictRequest()
    array = np.arange(1000, dtype="<f4")
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1000)
    if content:
        request.inputs["x"].tensor_content = array.tobytes()
    else:
        request.inputs["x"].float_val.extend(array)
    data = wrap(request.SerializeToString())
    values = read_request(data).tensors["x"].decode().values
    assert isinstance(values, np.ndarray)
    assert np.shares_memory(values, np.frombuffer(data, np.uint8))
    assert values.tobytes() == array.tobytes()


def entries(content: bytes) -> bytes:
    """A map's entry "x" with this much in it."""
    return b"\x12" + varint(len(content) + 3) + b"\x0a\x01x" + content


@pytest.mark.parametrize(
    "data",
    [
        entries(b"\x12\x00" * 30_000),
        entries(b"\x12\x02\x08\x01" * 15_000),
        b"\x0a\x00" * 30_000,
        b"\x1a\x00" * 6_000 + b"\x12\x00" * 24_000,
        b"".join([b"\x12\x05\x0a\x03" + b"%03d" % (number % 1000) for number in range(8_500)]),
        b"\xa3\x01" * 90 + b"\x08\x00" * 25_000 + b"\xa4\x01" * 90,
        entries(b"\x12" + varint(60_004) + b"\x08\x09\x20\x00" + b"\x50\x00" * 30_000),
        entries(b"\x12" + varint(60_004) + b"\x08\x07\x12\x00" + b"\x42\x00" * 30_000),
        entries(b"\x12" + varint(60_002) + b"\x08\x07" + b"\x12\x00" * 30_000),
        entries(b"\x12" + varint(60_002) + b"\x08\x01" + b"\x12\x02\x12\x00" * 15_000),
        entries(b"\x12" + varint(60_006) + b"\x08\x09\x52" + varint(60_000) + b"\x00" * 60_000),
    ],
)
def test_short_fields_do_not_grow(data: bytes) -> None:
    assert not is_plain_request(data) or len(read_request(data).tensors) == 1
    tracemalloc.start()
    try:
        for unread in read_request(data).tensors.values():
            tensor_of(unread)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(data)


def test_many_aliases_and_names() -> None:
    for data in (
        b"".join([b"\x12\x07\x0a\x05" + b"%05d" % number for number in range(70_000)]),
        b"\x1a\x01a" * 70_000,
    ):
        with pytest.raises(WireError, match="more than 65536"):
            read_request(data)


def test_which_requests_are_read_soon() -> None:
    request = usual(random.Random(4))
    request.inputs["large"].dtype = 1
    request.inputs["large"].tensor_content = bytes(1 << 22)
    assert is_plain_request(request.SerializeToString())
    assert is_plain_request(request.SerializeToString() + b"\x1a\x85"), "soon refused"
    assert not is_plain_request(b"\x1a\x00" * 1000)
    assert not is_plain_request(b"\x32\x01c" + request.SerializeToString())


def slow(proto: Any) -> bool:
    message = proto.SerializeToString()
    return UnreadTensor(message, 0, len(message), 98).is_slow


def test_large_tensors_that_are_views_take_no_time() -> None:
    proto = TensorProto(dtype=1, tensor_content=bytes(1 << 24))
    proto.tensor_shape.dim.add(size=1 << 22)
    assert not slow(proto)
    proto = TensorProto(dtype=7, string_val=[bytes(1 << 20)] * 4)
    assert not slow(proto), "few strings"
    assert slow(TensorProto(dtype=7, string_val=[b"abc"] * 30_000)), "surplus ones are looked at too"
    assert slow(TensorProto(dtype=3, int_val=[1] * (1 << 20)))


def test_responses() -> None:
    response = PredictResponse()
    response.model_spec.name, response.model_spec.signature_name = "m", "s"
    response.model_spec.version.value = 3
    response.outputs["y"].dtype = 1
    response.outputs["y"].tensor_shape.dim.add(size=2)
    response.outputs["y"].float_val.extend([1, 2])
    found = read_predict_response(response.SerializeToString())
    assert found[:3] == ("m", 3, "s")
    assert (found.outputs["y"].dtype, found.outputs["y"].shape) == (1, (2,))
    assert found.outputs["y"].values.tolist() == [1, 2]  # type: ignore[union-attr]
    assert read_predict_response(b"")[:3] == ("", None, "")


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"\x0a", Code.INTERNAL, "the answer is no tensorflow.serving.PredictResponse: "),
        (b"\x0a\x05\x0a\x01y\x12\x00", Code.INTERNAL, "an output of the answer can't be read: a tensor can't be of type 0"),
        (b"\x0a\x0f\x0a\x01y\x12\x0a\x08\x01\x12\x06\x12\x04\x08\x80\x80\x10", Code.RESOURCE_EXHAUSTED, "stand for 1048576"),
    ],
)
def test_responses_that_are_none(data: bytes, code: Code, text: str) -> None:
    with pytest.raises(ServingError, match=text) as caught:
        read_predict_response(data, 1 << 19)
    assert caught.value.code is code
