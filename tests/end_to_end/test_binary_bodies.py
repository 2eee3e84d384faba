"""Bodies that are not JSON, from the clients that would send them: numpy, msgpack, and TensorFlow Serving's own messages."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np
import pytest

from end_to_end.http_answer import Answer
from end_to_end.raw_connection import RawConnection
from end_to_end.running_server import RunningServer
from ringserve.protos import message_module

NPY, NPZ, RAW = "application/x-npy", "application/x-npz", "application/octet-stream"
MSGPACK, PROTOBUF, JSON = "application/x-msgpack", "application/x-protobuf", "application/json"
DTYPE, SHAPE, OUTPUTS = "X-Ringserve-Dtype", "X-Ringserve-Shape", "X-Ringserve-Outputs"
SIGNATURE = "X-Ringserve-Signature"
NUMPY: Final = {"float": "float32", "double": "float64", "half": "float16"}  # of others TensorFlow's names are the same
DTYPES: Final = (
    "half", "float", "double", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
    "complex64", "complex128",
)  # fmt: skip

Arrays = dict[str, Any]


class Kind(NamedTuple):
    """How a client writes a request and reads an answer: arrays by alias; of kinds of one array, by the alias "y"."""

    content_type: str
    write: Callable[[Arrays], tuple[bytes, dict[str, str]]]
    read: Callable[[Answer], Arrays]


def write_npy(arrays: Arrays) -> tuple[bytes, dict[str, str]]:
    (array,) = arrays.values()
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue(), {}


def write_npz(arrays: Arrays) -> tuple[bytes, dict[str, str]]:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue(), {}


def write_raw(arrays: Arrays) -> tuple[bytes, dict[str, str]]:
    (array,) = arrays.values()
    if array.dtype.kind == "S":
        return array.item(), {DTYPE: "string", SHAPE: ",".join(map(str, array.shape))}
    return array.tobytes(), {DTYPE: array.dtype.name, SHAPE: ",".join(map(str, array.shape))}


def write_msgpack(arrays: Arrays) -> tuple[bytes, dict[str, str]]:
    tensors = [
        [alias, "string", array.shape, array.reshape(-1).tolist()]
        if array.dtype.kind == "S"
        else [alias, array.dtype.name, array.shape, array.tobytes()]
        for alias, array in arrays.items()
    ]
    return msgpack.packb({"inputs": tensors, "id": 7}), {}


def write_protobuf(arrays: Arrays, **spec: str) -> tuple[bytes, dict[str, str]]:
    types = message_module("tensorflow.core.framework.types_pb2")
    names = {numpy: name for name, numpy in NUMPY.items()}
    request = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest()
    for key, value in spec.items():
        setattr(request.model_spec, key, value)
    for alias, array in arrays.items():
        tensor = request.inputs[alias]
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        if array.dtype.kind == "S":
            tensor.dtype = types.DT_STRING
            tensor.string_val.extend(array.reshape(-1).tolist())
        else:
            tensor.dtype = types.DataType.Value(f"DT_{names.get(array.dtype.name, array.dtype.name).upper()}")
            tensor.tensor_content = array.tobytes()
    return request.SerializeToString(), {}


def read_npy(answer: Answer) -> Arrays:
    return {"y": np.load(io.BytesIO(answer.body))}


def read_npz(answer: Answer) -> Arrays:
    return dict(np.load(io.BytesIO(answer.body)))


def read_raw(answer: Answer) -> Arrays:
    shape = [int(size) for size in answer.headers[SHAPE.lower()].split(",") if size]
    name = answer.headers[DTYPE.lower()]
    if name == "string":
        return {"y": np.array([answer.body]).reshape(shape)}
    return {"y": np.frombuffer(answer.body, name).reshape(shape)}


def read_msgpack(answer: Answer) -> Arrays:
    document = msgpack.unpackb(answer.body)
    assert (document["v"], document["id"]) == (1, 7)
    return {
        alias: np.array(data, "S").reshape(shape)
        if dtype == "string"
        else np.frombuffer(data, NUMPY.get(dtype, dtype)).reshape(shape)
        for alias, dtype, shape, data in document["outputs"]
    }


def read_protobuf(answer: Answer) -> Arrays:
    response = message_module("tensorflow_serving.apis.predict_pb2").PredictResponse.FromString(answer.body)
    return {alias: array_of(tensor) for alias, tensor in response.outputs.items()}


FIELDS: Final = {
    1: ("float_val", "f4"), 2: ("double_val", "f8"), 3: ("int_val", "i4"), 4: ("int_val", "u1"), 5: ("int_val", "i2"),
    6: ("int_val", "i1"), 9: ("int64_val", "i8"), 10: ("bool_val", "?"), 17: ("int_val", "u2"), 22: ("uint32_val", "u4"),
    23: ("uint64_val", "u8"),
}  # fmt: skip


def array_of(tensor: Any) -> Any:
    """From the typed fields, which upstream's answers have."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == 7:
        return np.array(list(tensor.string_val), "S").reshape(shape)
    if tensor.dtype == 19:
        return np.array(tensor.half_val, "u2").view("f2").reshape(shape)
    if tensor.dtype in (8, 18):
        values, parts = ("scomplex_val", "f4") if tensor.dtype == 8 else ("dcomplex_val", "f8")
        return np.array(getattr(tensor, values), parts).view(f"c{2 * int(parts[1])}").reshape(shape)
    field, dtype = FIELDS[tensor.dtype]
    return np.array(getattr(tensor, field), dtype).reshape(shape)


KINDS: Final = (
    Kind(NPY, write_npy, read_npy),
    Kind(NPZ, write_npz, read_npz),
    Kind(RAW, write_raw, read_raw),
    Kind(MSGPACK, write_msgpack, read_msgpack),
    Kind(PROTOBUF, write_protobuf, read_protobuf),
)
BY_TYPE: Final = {kind.content_type: kind for kind in KINDS}
of_every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.content_type for kind in KINDS])
of_several = pytest.mark.parametrize("content_type", [NPZ, MSGPACK, PROTOBUF])
of_one = pytest.mark.parametrize("content_type", [NPY, RAW])

X = np.array([[1], [2], [5]], np.float32)
Y = np.array([[2.5], [3], [4.5]], np.float32)


def ask(server: RunningServer, model: str, content_type: str, arrays: Arrays, **headers: str) -> Answer:
    """Headers with `_` for `-`."""
    body, own = BY_TYPE[content_type].write(arrays)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.ask("POST", f"/v1/models/{model}:predict", body, {"Content-Type": content_type, **own, **named})


def same(got: Arrays, expected: Arrays) -> bool:
    assert got.keys() == expected.keys()
    for alias, array in expected.items():
        assert (got[alias].dtype, got[alias].shape) == (array.dtype, array.shape)
        assert np.array_equal(got[alias], array)
    return True


@of_every_kind
def test_an_answer_in_kind(catalogue: RunningServer, kind: Kind) -> None:
    answer = ask(catalogue, "default", kind.content_type, {"x": X})
    assert (answer.status, answer.headers["content-type"]) == (200, kind.content_type), answer
    assert same(kind.read(answer), {"y": Y})
    stages = [part.strip().partition(";")[0] for part in answer.headers["server-timing"].split(",")]
    assert stages == ["decode", "queue", "run", "encode"]


@of_every_kind
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_bit_by_bit(catalogue: RunningServer, kind: Kind, dtype: str) -> None:
    """Also not-a-numbers and signs of zeros; a bool has no other bits than one."""
    numpy = np.dtype(NUMPY.get(dtype, dtype))
    every = np.random.default_rng(0).bytes(6 * numpy.itemsize)
    array = np.array([[True, False]] * 3) if numpy.kind == "b" else np.frombuffer(every, numpy).reshape(3, 2)
    if kind.content_type == PROTOBUF:
        body, _ = write_protobuf({"x": array}, signature_name=dtype)
        answer = catalogue.ask("POST", "/v1/models/identity:predict", body, {"Content-Type": PROTOBUF})
    else:
        answer = ask(catalogue, "identity", kind.content_type, {"x": array}, X_Ringserve_Signature=dtype)
    assert answer.status == 200, answer
    (got,) = kind.read(answer).values()
    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("content_type", [RAW, MSGPACK, PROTOBUF])
def test_bfloat16_as_its_16_bits(catalogue: RunningServer, content_type: str) -> None:
    """numpy has no such type."""
    bits = np.arange(0, 1 << 16, 3, dtype="u2")[:20_000].reshape(-1, 2).tobytes()
    headers = {"Content-Type": content_type, SIGNATURE: "bfloat16", DTYPE: "bfloat16", SHAPE: "-1,2"}
    if content_type == PROTOBUF:
        request = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest()
        request.model_spec.signature_name = "bfloat16"
        request.inputs["x"].dtype = 14
        request.inputs["x"].tensor_content = bits
        for size in (10_000, 2):
            request.inputs["x"].tensor_shape.dim.add(size=size)
        body = request.SerializeToString()
    else:
        body = bits if content_type == RAW else msgpack.packb({"inputs": [["x", "bfloat16", [10_000, 2], bits]]})
    answer = catalogue.ask("POST", "/v1/models/identity:predict", body, headers)
    assert answer.status == 200, answer
    if content_type == PROTOBUF:
        response = message_module("tensorflow_serving.apis.predict_pb2").PredictResponse.FromString(answer.body)
        got = np.array(response.outputs["y"].half_val, "u2").tobytes()
    else:
        got = answer.body if content_type == RAW else msgpack.unpackb(answer.body)["outputs"][0][3]
    assert got == bits
    refused = catalogue.ask("POST", "/v1/models/identity:predict", body, {**headers, "Accept": NPY})
    assert (refused.status, "numpy has no bfloat16" in refused.error) == (400, True)


@of_several
def test_several_inputs_and_outputs(catalogue: RunningServer, content_type: str) -> None:
    arrays = {"b": np.array([10, -20], np.int32), "a": np.array([[1, 2, 3], [4, 5, 6]], np.float32)}
    expected = {"sum": np.array([[11, 12, 13], [-16, -15, -14]], np.float32), "count": np.array([10, -20], np.int64)}
    read = BY_TYPE[content_type].read
    assert same(read(ask(catalogue, "two_inputs", content_type, arrays)), expected)
    only = ask(catalogue, "two_inputs", content_type, arrays, X_Ringserve_Outputs=" count")
    assert same(read(only), {"count": expected["count"]})
    both = read(ask(catalogue, "two_inputs", content_type, arrays, X_Ringserve_Outputs="sum, count"))
    assert same(both, expected)
    if content_type != PROTOBUF:  # whose map has no order
        assert list(both) == ["sum", "count"]


@of_one
def test_one_of_several_outputs(catalogue: RunningServer, content_type: str) -> None:
    arrays = {"x": np.array([b"abc"])}
    got = BY_TYPE[content_type].read(ask(catalogue, "text", content_type, arrays, X_Ringserve_Outputs="upper"))
    assert got["y"].tolist() == [b"ABC"]
    all_of_them = ask(catalogue, "text", content_type, arrays)
    assert all_of_them.status == 400
    assert "X-Ringserve-Outputs" in all_of_them.error
    several = ask(catalogue, "two_inputs", content_type, {"a": np.array([[1, 2, 3]], np.float32)}, X_Ringserve_Outputs="sum")
    assert (several.status, "2 inputs (a, b)" in several.error) == (400, True)


@of_several
def test_strings(catalogue: RunningServer, content_type: str) -> None:
    arrays = {"x": np.array([b"abc", b"", b"\xff\0z"])}
    got = BY_TYPE[content_type].read(ask(catalogue, "text", content_type, arrays))
    assert got["length"].tolist() == [3, 0, 3]
    assert got["upper"].tolist() == got["upper_bytes"].tolist() == [b"ABC", b"", b"\xff\0Z"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (NPY, NPY),
        (f"text/html, {NPZ}", NPZ),
        (f"{RAW};q=0.5, {MSGPACK};q=0.4, {JSON};q=0.1", RAW),
        (f"{JSON};q=0.2, {PROTOBUF}", PROTOBUF),
        ("application/vnd.msgpack", MSGPACK),
        (JSON, JSON),
        ("*/*", None),
        (f"{NPY};q=0.5, */*", None),
        ("image/png", None),
    ],
)
@pytest.mark.parametrize("sent", [NPY, PROTOBUF, JSON])
def test_the_answer_that_is_accepted(catalogue: RunningServer, sent: str, accept: str, kind: str | None) -> None:
    if sent == JSON:
        answer = catalogue.ask("POST", "/v1/models/default:predict", {"instances": X.tolist()}, {"Accept": accept})
    else:
        answer = ask(catalogue, "default", sent, {"x": X}, Accept=accept)
    wanted = kind or sent
    assert (answer.status, answer.headers["content-type"]) == (200, wanted)
    if wanted == JSON:
        assert answer.json == {"predictions" if sent == JSON else "outputs": Y.tolist()}
    elif wanted == MSGPACK:
        assert msgpack.unpackb(answer.body)["outputs"] == [["y", "float", [3, 1], Y.tobytes()]]
    else:
        assert same(BY_TYPE[wanted].read(answer), {"y": Y})


def test_json_with_one_output_of_several(catalogue: RunningServer) -> None:
    headers = {"Accept": NPY, OUTPUTS: "count"}
    body = {"instances": [{"a": [1, 2, 3], "b": 4}]}
    answer = catalogue.ask("POST", "/v1/models/two_inputs:predict", body, headers)
    assert same(read_npy(answer), {"y": np.array([4], np.int64)})


@pytest.mark.parametrize(
    ("content_type", "body", "headers", "text"),
    [
        (NPY, b"", {}, ".npy"),
        (NPY, b"\x93NUMPY\x01\x00\xff\xff", {}, ".npy"),
        (NPY, write_npy({"x": X})[0][:-1], {}, ""),
        (NPY, write_npy({"x": np.array([[1]], np.float64)})[0], {}, "Expects arg[0] to be float but double is provided"),
        (NPY, write_npy({"x": np.array([b"a"])})[0], {}, "Expects arg[0] to be float but string is provided"),
        (NPZ, b"PK\x05\x06", {}, ""),
        (NPZ, write_npz({"z": X})[0], {}, "z"),
        (NPZ, write_npz({"x": X, "z": X})[0], {}, "input size does not match signature: 2!=1"),
        (RAW, X.tobytes(), {DTYPE: "flaot"}, "X-Ringserve-Dtype: 'flaot'"),
        (RAW, X.tobytes(), {SHAPE: "3,one"}, "X-Ringserve-Shape: '3,one'"),
        (RAW, X.tobytes(), {SHAPE: "4,1"}, "a raw body of 3 elements, but shape [4, 1] has 4"),
        (RAW, X.tobytes()[1:], {DTYPE: "float"}, "a raw body of 11 bytes; expected a multiple of 4 for float"),
        (RAW, X.tobytes(), {SHAPE: "-1,-1"}, "can't be worked out"),
        (RAW, X.tobytes(), {SHAPE: ",".join(["999999999999999999"] * 8)}, "a raw body of 3 elements"),
        (RAW, np.float64(X).tobytes(), {DTYPE: "double", SHAPE: "3,1"}, "Expects arg[0] to be float but double is provided"),
        (MSGPACK, b"", {}, ""),
        (MSGPACK, b"\x93\x01\x02\x03", {}, ""),
        (MSGPACK, msgpack.packb({"inputs": [["x", "float", [3, 1], b"abc"]]}), {}, ""),
        (MSGPACK, msgpack.packb({"inputs": [["x", "flaot", [3, 1], b"abc"]]}), {}, ""),
        (MSGPACK, msgpack.packb({"inputs": [["x", "float", [1 << 60, 1 << 60], b""]]}), {}, ""),
        (MSGPACK, b"\xdd\xff\xff\xff\xff", {}, ""),
        (MSGPACK, write_msgpack({"x": X})[0], {OUTPUTS: "nope"}, "output tensor alias not found in signature: nope "),
        (MSGPACK, write_msgpack({"x": X})[0], {OUTPUTS: "y,y"}, "duplicate output tensor alias: y"),
        (
            MSGPACK,
            write_msgpack({"x": X})[0],
            {SIGNATURE: "nope"},
            'Serving signature name: "nope" not found in signature def',
        ),
        (MSGPACK, msgpack.packb({"inputs": [["x", "float", [1], b"abcd"]], "model": "other"}), {}, "other"),
        (PROTOBUF, b"\xff", {}, "the request is no message"),
        (PROTOBUF, b"", {}, "input size does not match signature: 0!=1"),
        (PROTOBUF, write_protobuf({"x": X}, signature_name="nope")[0], {}, 'Serving signature key "nope" not found.'),
        (PROTOBUF, write_protobuf({"x": np.float64(X)})[0], {}, "Expects arg[0] to be float but double is provided"),
        (PROTOBUF, write_protobuf({"x": X}, name="other")[0], {}, "other"),
    ],
)
def test_errors_are_json(
    catalogue: RunningServer, content_type: str, body: bytes, headers: dict[str, str], text: str
) -> None:
    """Whatever was sent or is accepted."""
    headers = {"Content-Type": content_type, "Accept": content_type, **headers}
    answer = catalogue.ask("POST", "/v1/models/default:predict", body, headers)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json"), answer
    assert answer.error
    assert text in answer.error


@of_every_kind
def test_no_such_model(catalogue: RunningServer, kind: Kind) -> None:
    answer = ask(catalogue, "nope", kind.content_type, {"x": X})
    assert (answer.status, answer.error) == (404, "Servable not found for request: Latest(nope)")


def test_bytes_without_headers_are_json(catalogue: RunningServer) -> None:
    headers = {"Content-Type": RAW}
    answer = catalogue.ask("POST", "/v1/models/default:predict", {"instances": [2.0]}, headers)
    assert (answer.status, answer.json) == (200, {"predictions": [3.0]})


def test_a_picture_as_it_is(catalogue: RunningServer) -> None:
    """One string of any bytes."""
    picture = bytes(range(256)) * 100
    headers = {"Content-Type": RAW, DTYPE: "string", "Accept": JSON, OUTPUTS: "length"}
    answer = catalogue.ask("POST", "/v1/models/text:predict", picture, headers)
    assert (answer.status, answer.json) == (200, {"outputs": [len(picture)]})


@of_every_kind
def test_no_rows(catalogue: RunningServer, kind: Kind) -> None:
    none = np.zeros((0, 1), np.float32)
    assert same(kind.read(ask(catalogue, "default", kind.content_type, {"x": none})), {"y": none})


@pytest.mark.parametrize(
    ("where", "version", "status"),
    [("", 123, 200), ("", 7, 404), ("/versions/123", 123, 200), ("/versions/124", 123, 400)],
)
def test_a_version_in_the_message(catalogue: RunningServer, where: str, version: int, status: int) -> None:
    """Counts where the URL has none, and must not contradict it."""
    body = msgpack.packb({"inputs": [["x", "float", [1], b"\0\0\0\0"]], "version": version})
    answer = catalogue.ask("POST", f"/v1/models/two_versions{where}:predict", body, {"Content-Type": MSGPACK})
    assert answer.status == status
    if status == 200:
        document = msgpack.unpackb(answer.body)
        assert (document["model"], document["version"], document["signature"]) == (
            "two_versions",
            version,
            "serving_default",
        )


@of_every_kind
def test_a_compressed_body(catalogue: RunningServer, kind: Kind) -> None:
    body, own = kind.write({"x": X})
    headers = {"Content-Type": kind.content_type, "Content-Encoding": "gzip", **own}
    answer = catalogue.ask("POST", "/v1/models/default:predict", gzip.compress(body), headers)
    assert answer.status == 200, answer
    assert same(kind.read(answer), {"y": Y})


def sent_in_chunks(server: RunningServer, model: str, content_type: str, arrays: Arrays, size: int) -> Answer:
    """In pieces of this many bytes."""
    body, own = BY_TYPE[content_type].write(arrays)
    headers = {"Host": "a", "Content-Type": content_type, "Transfer-Encoding": "chunked", **own}
    lines = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
    with RawConnection(server.port) as connection:
        connection.send(f"POST /v1/models/{model}:predict HTTP/1.1{lines}\r\n\r\n".encode())
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        return connection.answer()


@of_every_kind
def test_a_body_in_small_chunks(catalogue: RunningServer, kind: Kind) -> None:
    answer = sent_in_chunks(catalogue, "default", kind.content_type, {"x": X}, 7)
    assert answer.status == 200, answer
    assert same(kind.read(answer), {"y": Y})


@of_every_kind
def test_a_large_picture(catalogue: RunningServer, kind: Kind) -> None:
    """Twelve mebibytes there and back, as a whole and in chunks."""
    picture = np.random.default_rng(0).random((1, 1024, 1024, 3), np.float32)
    if kind.content_type == NPZ:  # not compressed: random numbers take a second
        file = io.BytesIO()
        np.savez(file, image=picture)
        answer = catalogue.ask("POST", "/v1/models/echo_big:predict", file.getvalue(), {"Content-Type": NPZ})
    elif kind.content_type in (NPY, MSGPACK):
        answer = sent_in_chunks(catalogue, "echo_big", kind.content_type, {"image": picture}, 1 << 20)
    else:
        answer = ask(catalogue, "echo_big", kind.content_type, {"image": picture})
    assert answer.status == 200, answer.body[:500]
    assert same(kind.read(answer), {"y": picture * 2})


def test_a_zip_that_grows_huge_is_refused(catalogue: RunningServer) -> None:
    """A thousand times as large as it comes: 300 MB where 256 are allowed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (300 * 250_000, 1)})
        for _ in range(300):
            member.write(bytes(1_000_000))
    answer = catalogue.ask("POST", "/v1/models/default:predict", file.getvalue(), {"Content-Type": NPZ})
    assert (answer.status, "--max_request_bytes" in answer.error) == (413, True), answer
    assert ask(catalogue, "default", NPZ, {"x": X}).status == 200
