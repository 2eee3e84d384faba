"""Which bodies take long to read, that they can be read in a thread, and what a body keeps once it has been read."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
    body_of,
    decoded,
    inputs,
    message,
    npy,
    npz,
    numbers,
    of_type,
    predict_request,
    sent,
    texts,
)

from frontend.bodies.negotiation import is_heavy
from frontend.bodies.npy_header import header_bytes
from ringserve.signature import Signature

ZEROS = np.zeros((600_000, 3), "<f4")  # 7 MB
STRINGS = texts(*[b"s"] * 50_000)
RAW_HEADERS = {"X-Ringserve-Dtype": "float32"}


def few_values(dtype: str, count: int) -> bytes:
    request = predict_request(x=numbers(dtype, [1]) if dtype != "string" else texts(b"s"))
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].tensor_shape.dim[0].size = count
    serialised: bytes = request.SerializeToString()
    return serialised


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (NPY, header_bytes("|S0", (50_000,))),
        (NPY, npy(ZEROS.T)),
        (NPZ, npz(True, x=ZEROS)),
        (NPZ, npz(True, **{f"x{index}": ZEROS[:100_000] for index in range(5)})),
        (PROTOBUF, predict_request(x=numbers("float", ZEROS)).SerializeToString()),
        (MSGPACK, message(sent("x", STRINGS))),
        (MSGPACK, message(*[["x", "string", [1], ["s"] * 1000]] * 50)),  # more than 32: an array of arrays
        (MSGPACK, message(*[["x", "string", [1], ["s"] * 5000]] * 10)),
    ],
)
def test_bodies_that_take_long_to_read(kind: str, body: bytes) -> None:
    for wrapped in (body, bytearray(body), memoryview(body)):
        assert is_heavy(kind, wrapped)
        assert is_heavy(f"{kind.upper()}; q=1", wrapped)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (NPY, npy(ZEROS)),
        (NPZ, npz(False, x=ZEROS)),
        (NPZ, npz(True, x=ZEROS[:1000])),
        (RAW, ZEROS.tobytes()),
        (MSGPACK, message(sent("x", numbers("float", ZEROS)))),
        (MSGPACK, message(sent("x", texts(*[b"s"] * 1000)), padding=bytes(1 << 20))),
        (PROTOBUF, predict_request(x=numbers("float", ZEROS[:1000])).SerializeToString()),
        ("application/json", b" " * (8 << 20)),
        ("", b""),
    ],
)
def test_bodies_that_do_not(kind: str, body: bytes) -> None:
    assert not is_heavy(kind, body)


@pytest.mark.parametrize("kind", [*ALL, "application/json", ""])
def test_what_is_no_such_body_is_refused_soon(kind: str) -> None:
    whole = npz(True, x=ZEROS)
    for body in (b"", b"\xff" * 200_000, whole[:-1], whole[:50], whole[50:-50], b"\x91" * 200_000):
        assert not is_heavy(kind, body)


@pytest.mark.parametrize(
    ("kind", "body", "dtype", "heavy"),
    [
        (NPY, npy(np.full(50_000, b"s")), "string", True),
        (NPY, header_bytes("|S0", (50_000,)), "string", True),
        (NPY, npy(ZEROS.T), "float", True),
        (NPY, npy(ZEROS.astype(">f4")), "float", True),
        (NPY, npy(ZEROS), "float", False),
        (NPY, npy(ZEROS[:1000].T), "float", False),
        (NPY, npy(np.full(100, b"s")), "string", False),
        (NPZ, npz(False, x=np.full(50_000, b"s")), "string", True),
        (NPZ, npz(False, x=ZEROS), "float", False),
        (PROTOBUF, few_values("float", 2_000_000), "float", True),
        (PROTOBUF, few_values("string", 50_000), "string", True),
        (PROTOBUF, few_values("float", 1000), "float", False),
        (MSGPACK, message(sent("x", numbers("float", ZEROS))), "float", False),
    ],
)
def test_decoded_bodies_whose_inputs_take_long(kind: str, body: bytes, dtype: str, heavy: bool) -> None:
    read = decoded(kind, body)
    assert read.heavy is heavy
    assert len(read.inputs(of_type(dtype))) == 1


def read_in_threads(kind: str, body: bytes, signature: Signature, headers: dict[str, str] | None) -> list[Any]:
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(inputs, kind, body, signature, headers) for _ in range(16)]
        return [future.result() for future in futures]


@pytest.mark.parametrize("kind", ALL)
def test_bodies_are_read_in_any_thread(kind: str) -> None:
    body, headers = body_of(kind, x=numbers("float", np.arange(300_000).reshape(-1, 3)))
    for (tensor,) in read_in_threads(kind, body, ONE, headers):
        assert np.array_equal(tensor.data, np.arange(300_000).reshape(-1, 3))


def test_archives_are_inflated_in_any_thread() -> None:
    for (tensor,) in read_in_threads(NPZ, npz(True, x=ZEROS + 1), ONE, None):
        assert tensor.data.min() == tensor.data.max() == 1


class Followed(bytearray):
    """Bytes whose end can be seen."""


@pytest.mark.parametrize("kind", [NPY, NPZ, RAW, MSGPACK])
def test_a_body_that_was_read_keeps_nothing_of_what_was_sent(kind: str) -> None:
    content, headers = body_of(kind, x=numbers("float", np.ones((3000, 3))))
    body = Followed(content)
    followed = weakref.ref(body)
    read = decoded(kind, body, headers or RAW_HEADERS)
    tensors = read.inputs(ONE)
    del body
    assert followed() is not None, "the tensors are views of it"
    del tensors
    assert followed() is None
    assert read.spec.name == "m"


def test_a_message_that_was_read_is_let_go() -> None:
    read = decoded(PROTOBUF, body_of(PROTOBUF, x=numbers("float", np.ones((3000, 3))))[0])
    read.inputs(ONE)
    kept = [type(value).__name__ for value in vars(read).values()]
    assert "PredictRequest" not in kept
