"""Bodies of .npy and .npz against numpy itself, and what is refused of them."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from binary_bodies import NPY, NPZ, ONE, TWO, encoded, inputs, lone, npy, npz, numbers, of_type, refusal, texts
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from frontend.bodies.negotiation import BodyOptions
from frontend.bodies.npy import find_npy
from frontend.bodies.npy_header import header_bytes
from frontend.bodies.zip_members import read_members
from frontend.endpoint import TooLargeError
from frontend.tensors import Tensor
from ringserve.errors import ServingError
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME

PLAIN = (
    "float", "double", "half", "bool", "complex64", "complex128",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
MOST = 1 << 20


def with_header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    header = text.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes((version, 0)) + length + header + data


@given(
    st.data(),
    st.sampled_from(PLAIN),
    SHAPES,
    st.sampled_from("<>"),
    st.booleans(),
    st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_what_numpy_saves_is_what_is_read(
    data: st.DataObject, dtype: str, shape: tuple[int, ...], order: str, fortran: bool, version: tuple[int, int]
) -> None:
    array = data.draw(npst.arrays(np.dtype(order + BY_NAME[dtype].numpy[1:]), shape))
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array(array, order="F" if fortran else "C"), version, allow_pickle=False)
    tensor = lone(NPY, file.getvalue(), dtype)
    assert (tensor.dtype.name, tensor.shape) == (dtype, shape)
    assert isinstance(tensor.data, np.ndarray)
    assert tensor.data.dtype == np.dtype(BY_NAME[dtype].numpy)
    assert tensor.data.flags.c_contiguous
    assert tensor.data.tobytes() == array.astype(tensor.data.dtype).tobytes()


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_the_array_is_a_view_of_the_body(wrap: Any) -> None:
    array = np.arange(12, dtype="<f4").reshape(4, 3)
    for kind, body in ((NPY, npy(array)), (NPZ, npz(x=array))):
        body = wrap(body)  # noqa: PLW2901
        (tensor,) = inputs(kind, body, ONE)
        assert np.shares_memory(np.frombuffer(body, np.uint8), tensor.data)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), max_size=6), st.sampled_from("<>")
)
def test_text_becomes_utf8(strings: list[str], order: str) -> None:
    array = np.array(strings, dtype=f"{order}U5")
    assert lone(NPY, npy(array), "string").data == [string.encode() for string in strings]


@given(st.lists(st.binary(max_size=5).map(lambda text: text.rstrip(b"\0")), max_size=6))
def test_bytes_stay_as_they_are(strings: list[bytes]) -> None:
    array = np.array(strings, dtype="S5")
    assert lone(NPY, npy(array), "string") == Tensor(BY_NAME["string"], (len(strings),), strings)


def test_strings_in_fortran_order() -> None:
    array = np.array([["a", "b", "c"], ["d", "e", "f"]], order="F")
    assert npy(array) != npy(np.ascontiguousarray(array))
    assert lone(NPY, npy(array), "string").data == [b"a", b"b", b"c", b"d", b"e", b"f"]


def test_text_that_is_no_unicode() -> None:
    for raw in (b"\xff\xff\xff\xff", b"\x00\xd8\x00\x00"):
        body = with_header("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", raw)
        assert "Unicode" in refusal(NPY, body, of_type("string"))


def test_strings_without_any_length_are_counted_before_they_are_made() -> None:
    body = with_header("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000,)}")
    with pytest.raises(TooLargeError, match="1000000000000 strings that the body does not carry; expected at most 1048576"):
        find_npy(body).tensor(1 << 60)
    body = with_header("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000,)}")
    with pytest.raises(TooLargeError, match="1000000 strings take 64000000 bytes, more than the 1048576"):
        find_npy(body).tensor(MOST)
    assert find_npy(body).tensor(MOST * 64) == Tensor(BY_NAME["string"], (1_000_000,), [b""] * 1_000_000)
    with pytest.raises(TooLargeError, match="20000 strings take 1300000 bytes, more than the 1048576"):
        find_npy(npy(np.full(20_000, b"a"))).tensor(MOST)


def test_types_are_compared_before_strings_are_made() -> None:
    """A model that takes no strings never has any made."""
    body = with_header("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000,)}")
    text = "Expects arg[0] to be float but string is provided"
    assert refusal(NPY, body) == text
    assert refusal(NPZ, archive_of(("x.npy", body))) == text
    with pytest.raises(TooLargeError, match=r"x\.npy: 1000000000000 strings that the body does not carry"):
        inputs(NPZ, archive_of(("x.npy", body)), of_type("string"))


def test_integers_stand_for_quantised_types_and_nothing_else_stands_for_another() -> None:
    assert lone(NPY, npy(np.array([1], "i1")), "qint8").dtype.name == "qint8"
    assert lone(NPY, npy(np.array([1], "<u2")), "quint16").dtype.name == "quint16"
    for given_type, wanted in (("<f8", "float"), ("<i4", "int64"), ("<u2", "bfloat16"), ("<i4", "quint8"), ("S1", "float")):
        text = refusal(NPY, npy(np.zeros(1, given_type)), of_type(wanted))
        assert text.startswith(f"Expects arg[0] to be {wanted} but ")
        assert text.endswith(" is provided")


def test_objects_are_never_unpickled() -> None:
    assert "Python objects is never read" in refusal(NPY, npy(np.array([{"a": 1}], object)))
    assert "structured" in refusal(NPY, npy(np.zeros(2, [("a", "<f4")])))
    assert "bfloat16" in refusal(NPY, npy(np.zeros(2, "V2")))
    assert "'M8[s]'; expected one of f4, " in refusal(NPY, npy(np.zeros(2, "M8[s]")))


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }"
DATA = bytes(12)


@pytest.mark.parametrize(
    "text",
    [
        HEADER,
        HEADER + " " * 500 + "\n",
        '{"shape":(1,3),"descr":"<f4","fortran_order":False}',
        "{'descr': 'f4', 'fortran_order': False, 'shape': (1L, 3L), }",
        "{ 'fortran_order' : False , 'descr' : '=f4' , 'shape' : ( 1 , 3 , ) , } ",
    ],
)
def test_headers_of_other_writers(text: str) -> None:
    assert lone(NPY, with_header(text, DATA), "float").shape == (1, 3)


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", HEADER[:-1], HEADER + "x", HEADER.replace("(1, 3)", "(3)"), HEADER.replace("(1, 3)", "(,)"),
        HEADER.replace("(1, 3)", "(1,, 3)"), HEADER.replace("(1, 3)", "(-1, 3)"), HEADER.replace("(1, 3)", "[1, 3]"),
        HEADER.replace("(1, 3)", f"({'9' * 25},)"), HEADER.replace("(1, 3)", "(1 3,)"), HEADER.replace("(1, 3)", "(1.0,)"),
        HEADER.replace("False", "0"), HEADER.replace("'<f4'", "''"), HEADER.replace("'<f4'", "'\\x3cf4'"),
        HEADER.replace("'<f4'", "None"), HEADER.replace("descr", "other"), "__import__('os').abort()",
        HEADER.replace("}", "'more': 1}"), "{" * 5000, HEADER.replace("(1, 3)", "(" + "1," * 65 + ")"),
        HEADER.replace("(1, 3)", f"({1 << 62}, 3)"),
    ],
)  # fmt: skip
def test_malformed_headers(text: str) -> None:
    said = refusal(NPY, with_header(text, DATA))
    assert "expected" in said or "not the shape" in said


def test_lengths_that_do_not_fit() -> None:
    body = npy(np.zeros((2, 3), "<f4"))
    for wrong in (body[:-1], body + b"\0"):
        assert refusal(NPY, wrong).endswith("f4 of shape [2, 3] takes 24")
    for size in range(128):
        assert "npy" in refusal(NPY, body[:size])
    assert "version 4.0; expected 1.0, 2.0 or 3.0" in refusal(NPY, b"\x93NUMPY\x04\0" + body[8:])
    assert "4294967295 bytes; expected at most 10000" in refusal(NPY, b"\x93NUMPY\x02\0" + b"\xff" * 4 + DATA)
    assert refusal(NPY, b"") == refusal(NPY, b'{"instances": [1]}')


def test_empty_arrays_with_large_dimensions() -> None:
    ok = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1000000)}")
    assert lone(NPY, ok, "float").shape == (0, 1000000)
    for descr, signature in (("<f4", ONE), ("|S1", of_type("string")), ("|S0", of_type("string"))):
        for dims in (f"0, {1 << 62}, {1 << 62}", f"0, {1 << 63}", f"{1 << 62}, 4, 0"):
            bad = with_header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims})}}")
            assert "is not the shape of a tensor" in refusal(NPY, bad, signature)


def test_bools_are_0_or_1() -> None:
    body = npy(np.array([True, False]))
    assert lone(NPY, body, "bool").data.tolist() == [True, False]  # type: ignore[union-attr]
    assert "neither 0 nor 1" in refusal(NPY, body[:-1] + b"\2", of_type("bool"))


def test_one_array_for_one_input() -> None:
    text = refusal(NPY, npy(np.zeros(1, "<f4")), TWO)
    assert text.startswith('A body of application/x-npy is one array, but signature "serving_default" has 2 inputs (a, b)')
    assert "application/x-npz" in text


@given(st.data(), st.sampled_from([*PLAIN, "qint8", "quint16"]), SHAPES)
def test_answers_are_what_numpy_loads(data: st.DataObject, dtype: str, shape: tuple[int, ...]) -> None:
    array = data.draw(npst.arrays(BY_NAME[dtype].numpy, shape))
    signature = Signature.of({"x": ("float", None)}, {"y": (dtype, None), "ü/z": (dtype, None)})
    tensor = numbers(dtype, array)
    one = encoded(NPY, npy(np.zeros(1, "<f4")), signature, [tensor, tensor], {"X-Ringserve-Outputs": "y"})
    loaded = np.load(io.BytesIO(one.body), allow_pickle=False)
    assert (loaded.dtype, loaded.shape, loaded.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert len(one.body) - loaded.nbytes == 128 or len(shape) > 3
    many = encoded(NPZ, npz(x=np.zeros(1, "<f4")), signature, [tensor, tensor])
    archive = np.load(io.BytesIO(many.body), allow_pickle=False)
    assert sorted(archive) == ["y", "ü/z"]
    assert archive["ü/z"].tobytes() == archive["y"].tobytes() == array.tobytes()
    assert zipfile.ZipFile(io.BytesIO(many.body)).testzip() is None
    assert (one.content_type, many.content_type) == (NPY, NPZ)


def test_the_header_that_is_written_is_numpys() -> None:
    for shape in ((), (3,), (1, 2), (10**9, 10**9, 0)):
        expected = io.BytesIO()
        np.lib.format.write_array_header_1_0(expected, {"descr": "<f4", "fortran_order": False, "shape": shape})
        ours = header_bytes("<f4", shape)
        assert len(ours) % 64 == 0
        assert np.lib.format.read_array_header_1_0(io.BytesIO(ours[8:])) == (shape, False, np.dtype("<f4"))


def test_strings_in_answers() -> None:
    body, signature = npy(np.zeros(1, "<f4")), of_type("float", "string")
    for strings in ([b"a", b"\0bc"], [], [b""]):
        loaded = np.load(io.BytesIO(encoded(NPY, body, signature, [texts(*strings)]).body))
        assert loaded.tolist() == strings
    with pytest.raises(ServingError, match="NUL at a string's end: ask for application/x-msgpack"):
        encoded(NPY, body, signature, [texts(b"a\0")])
    with pytest.raises(ServingError, match="take 2000000000 bytes as an array"):
        encoded(NPY, body, signature, [texts(b"a" * 2000, *[b""] * 999_999)])


def test_answers_that_numpy_has_no_type_for() -> None:
    text = "numpy has no bfloat16: application/x-msgpack, application/octet-stream and application/x-protobuf carry it"
    assert refusal(NPY, npy(np.zeros(1, "<f4")), of_type("float", "bfloat16")) == text
    assert refusal(NPZ, npz(x=np.zeros(1, "<f4")), of_type("float", "bfloat16")) == f"Output y: {text}"


def test_several_outputs_are_no_array() -> None:
    signature = Signature.of({"x": ("float", None)}, {"y": ("float", None), "z": ("float", None)})
    text = refusal(NPY, npy(np.zeros(1, "<f4")), signature)
    assert text == (
        "An answer of application/x-npy is one array, not 2 outputs (y, z): name one with X-Ringserve-Outputs, or ask for "
        "application/x-npz or application/x-msgpack with Accept"
    )


# .npz


@pytest.mark.parametrize("compressed", [False, True])
def test_archives_by_name(compressed: bool) -> None:
    body = npz(compressed, b=np.array(["p", "q"]), a=np.arange(2000, dtype="<f4"))
    a, b = inputs(NPZ, body, TWO)
    assert np.array_equal(a.data, np.arange(2000))
    assert b.data == [b"p", b"q"]


def test_archives_written_without_seeking() -> None:
    """Their local headers have no sizes: the directory has."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.parts.append(bytes(data))
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"PK\x05 a comment"
        archive.writestr("x.npy", npy(np.ones((1, 3), "<f4")))
    assert inputs(NPZ, b"".join(pipe.parts), ONE)[0].shape == (1, 3)


def test_names_of_an_archive() -> None:
    one = np.zeros(1, "<f4")
    assert refusal(NPZ, npz(a=one), TWO) == (
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}."
    )
    assert refusal(NPZ, npz(a=one, c=one), TWO) == (
        "Signature input alias: b(feed name: b:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {a,c}, or default input alias set: "
    )
    assert refusal(NPZ, npz(a=one, b=one), TWO) == "Expects arg[1] to be string but float is provided"
    assert "has a member 'x'; expected each name once" in refusal(NPZ, archive_of(("x", b"")))
    assert "has a member 'x.npy'; expected each" in refusal(NPZ, archive_of(("x.npy", npy(one)), ("x.npy", npy(one))))
    assert refusal(NPZ, archive_of(("x.npy", b"nothing"))).startswith("x.npy: no .npy data")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def archive_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.filelist.append(info := zipfile.ZipInfo(name))
            archive.filelist.remove(info)
            archive.NameToInfo.pop(name, None)
            archive.writestr(info, content, method)
    return file.getvalue()


def test_bombs_are_refused_before_they_are_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    body = archive_of(*((f"x{i}.npy", bytes(1 << 19)) for i in range(3)), method=zipfile.ZIP_DEFLATED)
    assert len(body) < 5000
    monkeypatch.setattr(zlib, "decompressobj", None)
    with pytest.raises(TooLargeError, match=f"members take {3 << 19} bytes, more than the {MOST}"):
        list(read_members(body, MOST))


def test_a_member_that_lies_about_its_size_is_inflated_no_further() -> None:
    body = bytearray(archive_of(("x.npy", bytes(100 << 20)), method=zipfile.ZIP_DEFLATED))
    entry = body.rfind(b"PK\x01\x02")
    struct.pack_into("<I", body, entry + 24, 1000)
    with pytest.raises(ServingError, match="is damaged"):
        list(read_members(body, MOST))


def test_members_are_inflated_once_into_their_own_room() -> None:
    size = 24 << 20
    contents = header_bytes("|u1", (size,)) + bytes(size)
    body = archive_of(("x.npy", contents), method=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        ((name, read),) = read_members(body, 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < size + (6 << 20)
    finally:
        tracemalloc.stop()
    assert name == "x.npy"
    assert read == contents


@given(st.binary(max_size=2000), st.integers(1, 200), st.integers(0, 9))
def test_whatever_is_deflated_is_inflated(content: bytes, times: int, level: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr("x.npy", content * times)
    ((_, read),) = read_members(file.getvalue(), MOST)
    assert read == content * times


def test_what_is_hard_to_deflate() -> None:
    """More than one piece of it, going in and coming out."""
    content = random.Random(5).randbytes(5 << 20) + bytes(5 << 20)
    ((_, read),) = read_members(archive_of(("x.npy", content), method=zipfile.ZIP_DEFLATED), 1 << 30)
    assert read == content


def test_damaged_archives() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        body = archive_of(("x.npy", npy(np.arange(3, dtype="<f4"))), method=method)
        for size in range(len(body)):
            refusal(NPZ, body[:size])
    deflated = bytearray(body)
    deflated[body.rfind(b"PK\x01\x02") + 16] ^= 1  # its checksum
    assert "damaged" in refusal(NPZ, bytes(deflated))
    assert "at most 1024" in refusal(NPZ, archive_of(*((f"{i}.npy", b"") for i in range(1025))))
    assert "method 14; expected 0 or 8" in refusal(NPZ, archive_of(("x.npy", b"1"), method=zipfile.ZIP_LZMA))
    assert "ZIP64" in refusal(NPZ, body[:-22] + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, 0, 0, 0))


def test_overlapping_members_count_twice() -> None:
    """The directory may name one place many times; each counts."""
    body = archive_of(("x.npy", bytes(1000)))
    at = body.rfind(b"PK\x01\x02")
    entry = body[at : at + 46 + 5]
    many = body[:at] + entry * 1000
    many += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1000, 1000, len(entry) * 1000, at, 0)
    with pytest.raises(TooLargeError):
        list(read_members(many, 999_999))
    assert len(list(read_members(many, 1_000_000))) == 1000


def test_members_count_against_the_limit_of_the_server() -> None:
    with pytest.raises(TooLargeError, match="--max_request_bytes"):
        inputs(NPZ, npz(x=np.zeros((10, 3), "<f4")), ONE, options=BodyOptions(most_bytes=100))
