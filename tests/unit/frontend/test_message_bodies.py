"""MessagePack bodies: what they may say, that large ones are not copied, and that every bad field is named."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from binary_bodies import (
    MSGPACK,
    ONE,
    SERVABLE,
    SPEC,
    TWO,
    decoded,
    encoded,
    inputs,
    lone,
    message,
    numbers,
    refusal,
    sent,
    texts,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from frontend.bodies.message_reader import read_message
from frontend.bodies.tensor_message import INLINE_BELOW, MessageError, NamedOutput, answer_frames, read_request
from frontend.endpoint import TooLargeError
from frontend.tensors import Tensor
from ringserve.errors import ServingError
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME, DTYPES

MOST = 1 << 20
LARGE = np.arange(30_000, dtype="<f4").reshape(-1, 3)
NUMBERS = [dtype for dtype in DTYPES.values() if dtype.numpy]
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def read(value: Any, **options: Any) -> Any:
    return read_message(msgpack.packb(value, **options), MOST * 64)


SCALARS = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False) | st.text(max_size=40)
    | st.binary(max_size=40)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=20),
    max_leaves=60,
)


def plain(value: Any) -> Any:
    """Without views."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, list):
        return list(map(plain, value))
    return {key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value


@given(VALUES)
def test_both_readers_read_what_the_package_writes(value: Any) -> None:
    """Small messages and large ones, which are read differently."""
    assert read(value) == value
    large = {"padding": bytes(5000), "value": value}
    assert plain(read(large)) == large


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 65535, 65536, 100_000])
def test_every_length(size: int) -> None:
    for value in (b"x" * size, "x" * size, ["y"] * size, {str(index): 0 for index in range(min(size, 10_000))}):
        found = plain(read([bytes(5000), value])[1])
        assert found == value or found == [b"y"] * size
    assert read([bytes(5000), msgpack.ExtType(5, bytes(size)), "behind"])[2] == "behind"


@given(st.lists(st.binary(max_size=300) | st.text(max_size=20), min_size=33, max_size=2000))
def test_long_arrays_of_strings(strings: list[bytes | str]) -> None:
    value = ["before", strings, "behind", bytes(5000)]
    as_bytes = [string.encode() if isinstance(string, str) else string for string in strings]
    found = read(value)
    assert found[1] == as_bytes or len(msgpack.packb(value)) <= 4096
    assert found[::2] == ["before", "behind"]


def test_text_that_is_no_utf8_comes_through() -> None:
    for padding in (b"", bytes(5000)):
        found = read([b"\xff\xfe", padding], use_bin_type=False)
        assert found[0].encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xc1", b"\x81", b"\x91", b"\xc4\x05abc", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 4000, b"\x81\xa1a" * 1300, b"\x81\x01\x01", b"\x81\x90\x01", b"\x00\x00", b"\xd9\x05ab", b"\xd4",
        b"\xc7\x05\x01",
        b"\xdd\x00\x00\x10\x00" * 200,
    ],
)  # fmt: skip
def test_what_is_no_message(body: bytes) -> None:
    for whole in (body, b"\x92\xc5\x20\x00" + bytes(0x2000) + body):
        with pytest.raises(ServingError, match="expected"):
            read_message(whole, MOST)


def test_large_messages_are_bounded() -> None:
    padded = b"\x92\xc5\x20\x00" + bytes(0x2000)
    for body, text in (
        (b"\x91" * 100_000, "32 levels"),
        (b"\xde\xff\xff" + b"\xa1a\x01" * 65_535, "32768 values"),
        (b"\xdd\x7f\xff\xff\xff" + bytes(1000), "ends inside"),
        (b"\xdd\x00\x00\x00\x64\xa1a" + b"\x90" * 98 + b"\x91\x01", "arrays or maps in it"),
        (b"\xdd\x00\x00\xff\xff" + b"\x90" * 65_535, "32768 values"),
        (b"\x01\x02\x03", "2 bytes behind its end"),
        (b"\xc1", "no MessagePack"),
        (b"\x81\x01\x02", "other keys; expected text"),
    ):
        with pytest.raises(ServingError, match=text):
            read_message(padded + body, MOST)
    with pytest.raises(TooLargeError, match="200000 strings take 12800000 bytes, more than the 1048576"):
        read_message(b"\xdd\x00\x03\x0d\x40" + b"\xa0" * 200_000, MOST)


@given(st.data(), st.sampled_from(NUMBERS), SHAPES, st.booleans())
def test_numbers(data: st.DataObject, dtype: Any, shape: tuple[int, ...], large: bool) -> None:
    array = data.draw(npst.arrays(dtype.numpy, shape))
    more = {"padding": bytes(5000)} if large else {}
    tensor = lone(MSGPACK, message(sent("x", numbers(dtype.name, array)), **more), dtype.name)
    assert (tensor.dtype, tensor.shape) == (dtype, shape)
    assert isinstance(tensor.data, np.ndarray)
    assert tensor.data.dtype == np.dtype(dtype.numpy)
    assert tensor.data.tobytes() == array.tobytes()


def test_large_tensors_are_views_of_the_body() -> None:
    body = message(sent("x", Tensor(BY_NAME["float"], LARGE.shape, LARGE)))
    (tensor,) = inputs(MSGPACK, body, ONE)
    assert np.shares_memory(np.frombuffer(body, np.uint8), tensor.data)
    assert np.array_equal(tensor.data, LARGE)


@pytest.mark.parametrize("count", [0, 3, 33, 3000])
def test_strings(count: int) -> None:
    strings = [f"é{index}".encode() + b"\xff\0" for index in range(count)]
    entry = ["x", "string", [count], strings]
    assert lone(MSGPACK, message(entry), "string").data == strings
    entry[3] = [f"é{index}" for index in range(count)]
    assert lone(MSGPACK, message(entry), "string").data == [f"é{index}".encode() for index in range(count)]
    assert lone(MSGPACK, message(["x", "string", [], ["a"]]), "string") == Tensor(BY_NAME["string"], (), [b"a"])


def test_dimensions_beyond_any_tensor() -> None:
    for dims in ([0, (1 << 64) - 1], [0, 1 << 62, 1 << 62], [1 << 63], [1 << 62, 2], [0] * 65, [-1]):
        for entry in (["x", "float", dims, b""], ["x", "string", dims, []]):
            assert "inputs[0] (x): " in refusal(MSGPACK, message(entry)), dims


def test_many_inputs_of_a_large_message() -> None:
    tensor = numbers("float", np.ones(1000))
    aliases = [f"x{index:03}" for index in range(300)]
    signature = Signature.of({alias: ("float", None) for alias in aliases}, {"y": ("float", None)})
    tensors = inputs(MSGPACK, message(*[sent(alias, tensor) for alias in aliases]), signature)
    assert [read_tensor.shape for read_tensor in tensors] == [(1000,)] * 300


def test_frames() -> None:
    body = message(["x", "float", [1, 3], 1], ["y", "int8", [2], 0])
    frames = [b"\1\2", np.arange(3, dtype="<f4").tobytes()]
    request = read_request(body, MOST, frames)
    assert request.inputs["x"].data.tolist() == [[0, 1, 2]]  # type: ignore[union-attr]
    assert np.shares_memory(request.inputs["y"].data, np.frombuffer(frames[0], np.uint8))
    with pytest.raises(
        ServingError, match=r"inputs\[0\] \(x\): data: 2; expected the bytes of float \(a bin\), or the index of one of 2"
    ):
        read_request(message(["x", "float", [1, 3], 2]), MOST, frames)
    assert "data: 0; expected the bytes of float (a bin)" in refusal(MSGPACK, message(["x", "float", [1, 3], 0]))


def test_everything_that_a_message_may_say() -> None:
    request = read_request(
        message(
            v=1,
            id="é",
            model="m",
            version=3,
            signature="s",
            outputs=["y"],
            timeout_ms=5,
            label=None,
            key="k",
            priority="low",
            other={"a": [1]},
        ),
        MOST,
    )
    assert request._replace(inputs={}) == ("é", "m", 3, None, "s", ("y",), 5_000_000, {}, "k", True)
    nothing = read_request(message(), MOST)
    assert nothing._replace(inputs={}) == (None, "", None, None, "", (), None, {}, None, None)
    for priority, low in (("Low", True), ("high", False), ("HIGH", False), (None, None)):
        assert read_request(message(priority=priority), MOST).low is low
    for identifier in (0, -1, 1.5, b"x" * 6000, "", True, None):
        assert read_request(message(id=identifier), MOST).identifier == identifier


def test_every_bad_field_is_named() -> None:
    fields: dict[str, Any] = {
        "v": 2, "id": [1], "model": 1, "version": "1", "label": b"x", "signature": {}, "outputs": "y", "timeout_ms": 0,
    }  # fmt: skip
    bad: list[Any] = [1, ["x"], ["a", "nothing", [1], b""], ["b", "float", "1", b""], ["c", "float", [2], b"1234"],
           ["d", "float", [-1], b""], ["e", "float", [1], "text"], ["f", "string", [2], ["a"]], ["g", "string", [1], [1]],
           ["a", "int8", [0], b""],           ["ok", "int8", [0], b""], ["ok", "int8", [0], b""]]  # fmt: skip
    said = refusal(MSGPACK, message(*bad, **{**fields, "outputs": ["y"], "id": 5, "model": "m"}))
    for name in ("v: 2; expected 1", "version: '1'; expected a whole number", "label: bin of 1; expected text",
                 "signature: map of 0", "timeout_ms: 0; expected whole milliseconds from 1 to 2147483647",
                 "inputs[0]: 1; expected [name, dtype, shape, data]", "inputs[1]: array of 1;",
                 "inputs[2] (a): dtype: 'nothing'; expected a name like float32",
                 "inputs[3] (b): shape: '1'; expected an array",
                 "inputs[4] (c): 4 bytes of data; float of shape [2] takes 8",
                 "inputs[5] (d): [-1] is not the shape of a tensor",
                 "inputs[6] (e): data: 'text'; expected the bytes of float",
                 "inputs[7] (f): data: an array of 1; expected an array of 2 strings",
                 "inputs[8] (g): data: 1 among the strings", "inputs[11]: 'ok' is there twice"):  # fmt: skip
        assert name in said, name
    said = refusal(MSGPACK, message(**fields))
    assert "id: array of 1; expected text, a number, bytes, a bool or nil" in said
    assert "model: 1; expected text" in said
    assert "outputs: 'y'; expected an array of names" in said
    assert "inputs: nothing; expected an array" in refusal(MSGPACK, msgpack.packb({"v": 1}))
    assert "the message is a array; expected a map" in refusal(MSGPACK, msgpack.packb([1]))
    many = refusal(MSGPACK, message(*range(1000)))
    assert many.endswith("and 984 more")
    assert len(many) < 3000


def test_an_error_has_the_id() -> None:
    with pytest.raises(MessageError) as caught:
        read_request(message(id="mine", version=-1), MOST)
    assert caught.value.identifier == "mine"


def test_text_of_bad_bytes_can_be_sent_back() -> None:
    body = msgpack.packb(
        {"inputs": [["\udcff", "\udcff", [1], b""]], "signature": "\udcff"}, unicode_errors="surrogateescape"
    )
    assert "\ufffd" in refusal(MSGPACK, body)
    body = msgpack.packb({"inputs": [], "signature": "\udcff"}, unicode_errors="surrogateescape")
    assert refusal(MSGPACK, body) == 'Serving signature name: "\ufffd" not found in signature def'


def test_texts_of_upstream() -> None:
    one = ["a", "float", [], bytes(4)]
    assert refusal(MSGPACK, message(one), TWO).startswith(
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
    )
    assert refusal(MSGPACK, message(one, ["c", "float", [], bytes(4)]), TWO).startswith(
        "Signature input alias: b(feed name: b:0)"
    )
    assert refusal(MSGPACK, message(["x", "double", [1], bytes(8)])) == "Expects arg[0] to be float but double is provided"
    said = refusal(MSGPACK, message(["x", "float", [1], bytes(4)], outputs=["z"]))
    assert said == "output tensor alias not found in signature: z Outputs expected to be in the set {y}."
    assert refusal(MSGPACK, message(["x", "float", [1], bytes(4)], outputs=["y", "y"])) == "duplicate output tensor alias: y"
    assert refusal(MSGPACK, message(signature="other")) == 'Serving signature name: "other" not found in signature def'


def test_a_signature_without_inputs() -> None:
    assert inputs(MSGPACK, message(), Signature.of({}, {"y": ("float", None)})) == []


@given(st.data(), st.sampled_from(NUMBERS), SHAPES)
def test_answers(data: st.DataObject, dtype: Any, shape: tuple[int, ...]) -> None:
    array = data.draw(npst.arrays(dtype.numpy, shape))
    signature = Signature.of({"x": ("float", None)}, {"y": (dtype.name, None), "z": ("string", None)})
    body = message(["x", "float", [1], bytes(4)], id="me", outputs=["z", "y"])
    answer = encoded(MSGPACK, body, signature, [numbers(dtype.name, array), texts(b"\xff", b"")])
    assert answer.content_type == MSGPACK
    assert msgpack.unpackb(answer.body) == {
        "v": 1, "id": "me", "model": "m", "version": 7, "signature": "serving_default",
        "outputs": [["z", "string", [2], [b"\xff", b""]], ["y", dtype.name, list(shape), array.tobytes()]],
    }  # fmt: skip


def test_large_answers_and_many_outputs() -> None:
    aliases = [f"y{index:02}" for index in range(40)]
    signature = Signature.of({"x": ("float", None)}, {alias: ("float", None) for alias in aliases})
    for size in (63, 64, 16_383, 16_384):
        tensor = numbers("float", np.ones(size))
        answer = msgpack.unpackb(encoded(MSGPACK, message(["x", "float", [], bytes(4)]), signature, [tensor] * 40).body)
        assert [output[0] for output in answer["outputs"]] == aliases
        assert {len(output[3]) for output in answer["outputs"]} == {4 * size}
    deep = numbers("float", np.ones((1,) * 20))  # a shape that needs a longer head
    assert (
        msgpack.unpackb(encoded(MSGPACK, message(["x", "float", [], bytes(4)]), ONE, [deep]).body)["outputs"][0][2]
        == [1] * 20
    )


def test_answers_in_frames() -> None:
    small, large = np.ones((2, 3), "<f4"), np.ones((1, INLINE_BELOW // 4), "<f4")
    outputs = [NamedOutput("s", texts(b"a"))]
    outputs += [NamedOutput("y", Tensor(BY_NAME["float"], array.shape, array)) for array in (large, small, large)]
    head, *frames = answer_frames(5, SERVABLE, ONE, outputs, [[1, 3, "bad"]])
    answer = msgpack.unpackb(head)
    shape = [1, INLINE_BELOW // 4]
    assert answer["errors"] == [[1, 3, "bad"]]
    assert answer["outputs"] == [
        ["s", "string", [1], [b"a"]],
        ["y", "float", shape, 0],
        ["y", "float", [2, 3], small.tobytes()],
        ["y", "float", shape, 1],
    ]
    assert frames == [large.tobytes()] * 2


def test_identifiers_are_given_back_as_they_came() -> None:
    for identifier in ("a", b"a", 1, 1.5, None, True, "\udcff"):
        body = msgpack.packb({"id": identifier, "inputs": [["x", "float", [], bytes(4)]]}, unicode_errors="surrogateescape")
        answer = encoded(MSGPACK, body, ONE, [numbers("float", [1])])
        found = msgpack.unpackb(answer.body, unicode_errors="surrogateescape")["id"]
        assert (found, type(found)) == (identifier, type(identifier))


def test_what_the_message_says_beside_the_url() -> None:
    body = message(version=3, timeout_ms=250)
    read_body = decoded(MSGPACK, body)
    assert read_body.spec == SPEC._replace(version=3)
    assert read_body.timeout == 250_000_000
    read_body = decoded(MSGPACK, message(label="canary"), {"X-Ringserve-Key": "k"})
    assert read_body.spec == SPEC._replace(label="canary", key="k")
    read_body = decoded(MSGPACK, message(), spec=SPEC._replace(version=2))
    assert (read_body.spec, read_body.timeout) == (SPEC._replace(version=2), None)
    assert decoded(MSGPACK, message(version=2, model="m"), spec=SPEC._replace(version=2)).spec.version == 2


@pytest.mark.parametrize(
    ("fields", "url", "text"),
    [
        ({"model": "other"}, SPEC, "The URL asks for model m, the message in the body for model other"),
        ({"version": 3}, SPEC._replace(version=2), "The URL asks for version 2, the message in the body for version 3"),
        ({"version": 3}, SPEC._replace(label="l"), "The URL asks for label l, the message in the body for version 3"),
        ({"label": "k"}, SPEC._replace(label="l"), "The URL asks for label l, the message in the body for label k"),
        ({"label": "k"}, SPEC._replace(version=1), "The URL asks for version 1, the message in the body for label k"),
        (
            {"label": "k", "version": 1},
            SPEC,
            "The URL asks for model m, the message in the body for version 1 and label k at once",
        ),
    ],
)
def test_contradictions(fields: dict[str, Any], url: Any, text: str) -> None:
    assert refusal(MSGPACK, message(**fields), spec=url) == text
