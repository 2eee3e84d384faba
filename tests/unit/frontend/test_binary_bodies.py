"""Which body a request has and which answer it gets; and whatever is sent, what comes of it is an answer or an error."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
from binary_bodies import (
    ALL,
    MSGPACK,
    NPY,
    NPZ,
    ONE,
    PROTOBUF,
    RAW,
    SERVABLE,
    SPEC,
    TWO,
    PredictResponse,
    body_of,
    decoded,
    encoded,
    headers_of,
    inputs,
    message,
    npy,
    npz,
    numbers,
    of_type,
    predict_request,
    refusal,
    sent,
    texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.bodies.kinds import Kind, accepted_kind
from frontend.bodies.negotiation import BodyOptions, answer_format, decoder
from frontend.request_body import RequestBody
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature

X = numbers("float", [[1, 2, 3]])
Y = numbers("float", [1.5])
OPTIONS = BodyOptions()
BINARY_HEADERS = {"X-Ringserve-Dtype": "float32"}


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "text/plain", "image/jpeg", "npy", "application/npy", "*/*"]
)
def test_anything_unknown_is_json(content_type: str) -> None:
    assert decoder(content_type, headers_of(BINARY_HEADERS)) is None


@pytest.mark.parametrize("kind", ALL)
def test_parameters_and_case_mean_nothing(kind: str) -> None:
    given_headers = headers_of(BINARY_HEADERS)
    wanted = decoder(kind, given_headers)
    assert wanted is not None
    for same in (kind.upper(), f"{kind}; charset=utf-8", f" {kind} ;q=1", f"{kind};"):
        assert decoder(same, given_headers) is wanted
    assert decoder(kind + "x", given_headers) is None


def test_other_names_of_the_same() -> None:
    for other in ("application/msgpack", "application/vnd.msgpack"):
        assert decoder(other, {}) is decoder(MSGPACK, {})
    for other in ("application/vnd.google.protobuf", "application/x-google-protobuf"):
        assert decoder(other, {}) is decoder(PROTOBUF, {})


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", None), ("*/*", None), ("text/html", None), ("application/*", None), ("application/x-npy", Kind.NPY),
        ("text/html, application/x-npz", Kind.NPZ), ("application/json, application/x-npy", Kind.JSON),
        ("application/json;q=0.5, application/x-npy;q=0.8", Kind.NPY), ("APPLICATION/X-NPY ; Q=0.1", Kind.NPY),
        ("application/x-npy;q=0.1, */*", None), ("application/x-npy, */*", Kind.NPY), ("*/*, application/x-npy", Kind.NPY),
        ("application/x-npy;q=0", None), ("application/x-npy;q=0, application/msgpack;q=0.001", Kind.MESSAGE),
        ("application/x-npy;q=nan", None), ("application/x-npy;q=x", None), ("application/x-npy;q=-1", None),
        ("application/x-npy;q=inf,application/x-npz", Kind.NPY), (",,;;,=", None), ("application/octet-stream", Kind.RAW),
        ("application/x-protobuf;v=1;q=0.2;x", Kind.PROTOBUF),
    ],
)  # fmt: skip
def test_what_is_accepted(accept: str, kind: Kind | None) -> None:
    assert accepted_kind(accept) is kind


def check(answer_kind: str, answer: Any) -> None:
    """Is this Y, in that form?"""
    assert answer.content_type == answer_kind
    body = answer.body
    if answer_kind == NPY:
        assert np.load(io.BytesIO(body)).tolist() == [1.5]
    elif answer_kind == NPZ:
        assert np.load(io.BytesIO(body))["y"].tolist() == [1.5]
    elif answer_kind == RAW:
        assert np.frombuffer(body, "<f4").tolist() == [1.5]
    elif answer_kind == MSGPACK:
        assert msgpack.unpackb(body)["outputs"] == [["y", "float", [1], np.array([1.5], "<f4").tobytes()]]
    elif answer_kind == PROTOBUF:
        assert list(PredictResponse.FromString(body).outputs["y"].float_val) == [1.5]
    else:
        assert json.loads(body) == {"outputs": [1.5]}


@pytest.mark.parametrize("kind", ALL)
def test_answers_of_the_same_kind_or_as_asked(kind: str) -> None:
    body, needed = body_of(kind, x=X)
    check(kind, encoded(kind, body, ONE, [Y], needed))
    for accept in ("*/*", "text/html", "application/x-npy;q=0.5, */*"):
        check(kind, encoded(kind, body, ONE, [Y], {**needed, "Accept": accept}))
    for other in (*ALL, "application/json"):
        check(other, encoded(kind, body, ONE, [Y], {**needed, "accept": f"{other}, */*;q=0.1"}))


@pytest.mark.parametrize("kind", ALL)
def test_answers_to_json(kind: str) -> None:
    chosen = answer_format(kind, headers_of({}), True, OPTIONS)
    assert chosen is not None
    check(kind, chosen.encode(SERVABLE, ONE, [Y]))
    assert answer_format(kind, headers_of({}), False, OPTIONS) is None, "those bodies know it themselves"
    two = Signature.of({"x": ("float", None)}, {"y": ("float", None), "z": ("float", None)})
    chosen = answer_format(kind, headers_of({"X-Ringserve-Outputs": " y ,"}), True, OPTIONS)
    assert chosen is not None
    check(kind, chosen.encode(SERVABLE, two, [Y, X]))
    if kind in (NPY, RAW):
        several = answer_format(kind, headers_of({}), True, OPTIONS)
        assert several is not None
        with pytest.raises(ServingError, match="name one with X-Ringserve-Outputs"):
            several.encode(SERVABLE, two, [Y, X])


def test_json_is_answered_to_json_as_ever() -> None:
    for accept in ("application/json", "*/*", "", "text/html", "application/x-npy;q=0.1, application/json"):
        assert answer_format(accept, headers_of({}), True, OPTIONS) is None


def test_the_option_for_tensor_content() -> None:
    chosen = answer_format(PROTOBUF, headers_of({}), True, BodyOptions(tensor_content=True))
    assert chosen is not None
    assert PredictResponse.FromString(chosen.encode(SERVABLE, ONE, [Y]).body).outputs["y"].tensor_content


@pytest.mark.parametrize("kind", ALL)
def test_outputs_that_are_asked_for(kind: str) -> None:
    body, needed = body_of(kind, x=X)
    signature = Signature.of({"x": ("float", None)}, {"a": ("string", None), "y": ("float", None)})
    outputs = [texts(b"no"), Y]
    check(kind, encoded(kind, body, signature, outputs, {**needed, "X-Ringserve-Outputs": "y"}))
    as_json = {**needed, "X-Ringserve-Outputs": "y", "Accept": "application/json"}
    check("application/json", encoded(kind, body, signature, outputs, as_json))
    said = refusal(kind, body, signature, {**needed, "X-Ringserve-Outputs": "y,n\udcff"})
    assert "output" in said
    said = refusal(kind, body, signature, {**needed, "X-Ringserve-Outputs": "n"})
    assert said == "output tensor alias not found in signature: n Outputs expected to be in the set {a,y}."


def test_outputs_of_the_message_go_before_those_of_the_header() -> None:
    signature = Signature.of({"x": ("float", None)}, {"a": ("string", None), "y": ("float", None)})
    body = message(sent("x", X), outputs=["y"])
    for accept in (MSGPACK, NPY, "application/json"):
        headers = {"X-Ringserve-Outputs": "a", "Accept": accept}
        check(accept, encoded(MSGPACK, body, signature, [texts(b"no"), Y], headers))


@pytest.mark.parametrize("kind", [NPY, NPZ, RAW, MSGPACK])
def test_the_signature_that_is_asked_for(kind: str) -> None:
    body, needed = body_of(kind, x=X)
    other = Signature("other", ONE.method, ONE.inputs, ONE.outputs)
    read = decoded(kind, body, {**needed, "x-ringserve-signature": "other"})
    assert read.signature({"serving_default": ONE, "other": other}) is other
    assert decoded(kind, body, needed).signature({"serving_default": ONE, "other": other}) is ONE
    with pytest.raises(ServingError) as caught:
        decoded(kind, body, {**needed, "X-Ringserve-Signature": "n\udcff"}).signature({"serving_default": ONE})
    assert (caught.value.code, caught.value.message) == (
        Code.INVALID_ARGUMENT,
        'Serving signature name: "n\ufffd" not found in signature def',
    )


@pytest.mark.parametrize("kind", ALL)
def test_methods_are_checked_where_the_server_says_so(kind: str) -> None:
    body, needed = body_of(kind, x=X)
    strange = Signature("serving_default", "strange", ONE.inputs, ONE.outputs)
    with pytest.raises(ServingError, match="Was: strange") as caught:
        inputs(kind, body, strange, needed, options=BodyOptions(check_method=True))
    assert caught.value.code is Code.INTERNAL
    assert len(inputs(kind, body, ONE, needed, options=BodyOptions(check_method=True))) == 1


@pytest.mark.parametrize("kind", ALL)
def test_no_shape_is_compared_with_the_declared_one(kind: str) -> None:
    body, needed = body_of(kind, x=numbers("float", [1, 2]))
    assert inputs(kind, body, ONE, needed)[0].shape == (2,)


@pytest.mark.parametrize("kind", ALL)
def test_what_a_body_is_to_the_front_end(kind: str) -> None:
    body, needed = body_of(kind, x=X)
    read: RequestBody = decoded(kind, body, needed)
    assert (read.spec, read.timeout) == (SPEC, None)  # type: ignore[attr-defined]


def test_requests_are_read_without_protobuf() -> None:
    code = (
        "import sys\nfrom frontend.bodies.predict_messages import read_predict_request\n"
        f"request = read_predict_request({predict_request(x=numbers('float', 1)).SerializeToString()!r})\n"
        "assert request.tensors['x'].decode()\n"
        "assert not [name for name in sys.modules if name.startswith(('google.protobuf', 'tensorflow'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Whatever is sent

MOST = 1 << 20
SIGNATURES = (ONE, TWO, of_type("string"), of_type("bool"), of_type("half"), Signature.of({}, {"y": ("float", None)}))


def corpus() -> Iterator[tuple[str, bytes]]:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    for value in (array, array.T, np.array(["é", "b"]), np.array([b"a"]), np.array([True]), np.float16(1), np.zeros((0, 3))):
        yield NPY, npy(value)
        yield NPZ, npz(False, x=value)
        yield NPZ, npz(True, a=value, b=np.array(["x"]))
    yield RAW, array.tobytes()
    for entries in (
        [sent("x", X)],
        [["x", "string", [40], ["s"] * 40]],
        [sent("a", X), sent("b", texts(b"q"))],
        [["x", "float", [2000], bytes(8000)]],
    ):
        yield MSGPACK, message(*entries, v=1, id="i", outputs=["y"], other=[[{"k": 1.5}], None])
    yield PROTOBUF, predict_request(x=X).SerializeToString()
    yield PROTOBUF, predict_request(a=numbers("float", []), b=texts(b"long" * 50)).SerializeToString()


CORPUS = list(corpus())


def survives(kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
    """It is read, or refused with an error that can be written; and little memory is taken before that is known."""
    tracemalloc.start()
    try:
        for signature in SIGNATURES:
            try:
                tensors = inputs(kind, body, signature, headers, options=BodyOptions(most_bytes=MOST))
            except ServingError as error:
                error.message.encode()
                assert len(error.message) < 10_000
                continue
            for tensor in tensors:
                assert tensor.shape == (tensor.shape if isinstance(tensor.data, list) else tensor.data.shape)
                tensor.packed()
        assert tracemalloc.get_traced_memory()[1] < 8 * MOST
    finally:
        tracemalloc.stop()


def mutated(body: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, cut, doubled, or replaced by lengths that are too large."""
    made = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        what = chance.randrange(5)
        if what == 0 and at < len(made):
            made[at] = chance.randrange(256)
        elif what == 1:
            del made[at : at + chance.randint(1, 8)]
        elif what == 2:
            made[at:at] = made[at : at + 16]
        elif what == 3:
            made[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xdd\xff\xff\xff"])
        elif made:
            at = min(at, len(made) - 1)
            made[at] ^= 1 << chance.randrange(8)
    return bytes(made)


@settings(deadline=None, max_examples=600)
@given(st.sampled_from(CORPUS), st.randoms(use_true_random=False))
def test_mutated_bodies(original: tuple[str, bytes], chance: random.Random) -> None:
    kind, body = original
    survives(kind, mutated(body, chance), BINARY_HEADERS)


STARTS = (b"", b"\x93NUMPY\x01\0", b"PK\x03\x04", b"PK\x05\x06", b"\x81\xa6inputs", b"\x0a", b"\x12")


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ALL), st.sampled_from(STARTS), st.binary(max_size=200), st.integers(0, 6000))
def test_random_bodies(kind: str, start: bytes, body: bytes, padding: int) -> None:
    survives(kind, start + body + bytes(padding), BINARY_HEADERS)


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_random_headers(shape: str, dtype: str, outputs: str, signature: str) -> None:
    headers = {"X-Ringserve-Shape": shape, "X-Ringserve-Dtype": dtype, "X-Ringserve-Outputs": outputs}
    survives(RAW, bytes(24), {**headers, "X-Ringserve-Signature": signature})
    survives(RAW, bytes(24), {"X-Ringserve-Shape": shape, "Accept": outputs})


@pytest.mark.parametrize("kind", ALL)
def test_nothing_but_zeros_or_ones(kind: str) -> None:
    for size in (0, 1, 100, 5000):
        survives(kind, bytes(size), BINARY_HEADERS)
        survives(kind, b"\xff" * size, BINARY_HEADERS)


@pytest.mark.parametrize("size", [4000, 6000, 100_000])
def test_nested_arrays_that_announce_much(size: int) -> None:
    for announced in (
        b"\xdc\x0f\xff",
        b"\xdc\x01\x00",
        b"\xdd\x00\x00\x0f\xff",
        b"\xde\xff\xff",
        b"\x9f",
        b"\x81\xa1a\xdc\x0f\xff",
    ):
        survives(MSGPACK, announced * (size // len(announced)))
