"""Messages that are known without being parsed: what is made of them is what parsing them would make."""

from __future__ import annotations

import random
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.bodies.message_reader import read_message
from frontend.bodies.tensor_message import TensorRequest, request_of
from frontend.zmq.burst import Burst, matrix_of
from frontend.zmq.pattern import Pattern, Patterns
from ringserve.errors import ServingError

MOST = 1 << 20
ID = b"\xa2id"


def read(message: bytes) -> tuple[dict[str, Any], TensorRequest]:
    fields = read_message(message, MOST)
    assert isinstance(fields, dict)
    return fields, request_of(fields, MOST)


def pattern_of(message: bytes) -> Pattern | None:
    return Pattern.of(message, read(message)[1])


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def asking(identifier: Any, *numbers: float, dtype: str = "float", **fields: Any) -> bytes:
    """As the client library writes it: what varies comes last."""
    array = np.array(numbers, {"float": "<f4", "int64": "<i8", "uint8": "u1", "bfloat16": "<u2"}[dtype])
    inputs = [["x", dtype, [len(numbers)], array.tobytes()]]
    return pack({"v": 1, "model": "m", **fields, "id": identifier, "inputs": inputs})


def same(one: TensorRequest, other: TensorRequest) -> bool:
    """NaNs too."""
    if pack(one.identifier) != pack(other.identifier) or one.inputs.keys() != other.inputs.keys():
        return False
    for alias, tensor in one.inputs.items():
        also = other.inputs[alias]
        if (tensor.dtype, tensor.shape) != (also.dtype, also.shape):
            return False
        if isinstance(tensor.data, list) or isinstance(also.data, list):
            if tensor.data != also.data:
                return False
        elif tensor.data.tobytes() != also.data.tobytes() or tensor.data.shape != also.data.shape:
            return False
    return one._replace(identifier=0, inputs={}) == other._replace(identifier=0, inputs={})


IDS: list[tuple[Any, Any]] = [  # of one kind and width
    (b"\0" * 8, b"\xff" * 8),
    (b"\xa2id\xa2id\xa2", b"\xc0\xa2id\xa2i\xa2"),
    (b"x" * 300, b"\xa2id" * 100),
    ("text", "ID\u00e9"),
    ("\xa2" * 10, "identify" * 2 + "\u00e9\u00e9"),
    ("t" * 40, "\u00e9" * 20),
    ("s" * 300, "id" * 150),
    ("ab\udcff", "abc"),
    (200, 255),
    (0xCDCD, 0xA2A2),
    (1 << 20, (1 << 32) - 1),
    (1 << 40, (1 << 64) - 1),
    (-100, -128),
    (-1000, -(1 << 15)),
    (-(1 << 20), -(1 << 31)),
    (-(1 << 40), -(1 << 63)),
    (0.5, -1e300),
]


@pytest.mark.parametrize(("first", "second"), IDS)
def test_ids_of_every_kind_that_vary(first: Any, second: Any) -> None:
    one, other = asking(first, 1, 2), asking(second, 3, 4)
    assert len(one) == len(other) and one != other
    pattern = pattern_of(one)
    assert pattern is not None
    for message, identifier in ((one, first), (other, second)):
        assert pattern.matches(message)
        assert pattern.packed_id(message) == pack(identifier)
        assert same(pattern.request_of(message), read(message)[1])


@pytest.mark.parametrize("identifier", [None, True, False, 0, 5, 127, -1, -32, "", b""])
def test_ids_that_are_their_own_first_byte_stay(identifier: Any) -> None:
    message = asking(identifier, 1)
    pattern = pattern_of(message)
    assert pattern is not None
    assert pattern.matches(asking(identifier, 7))
    assert same(pattern.request_of(asking(identifier, 7)), read(asking(identifier, 7))[1])
    other = 6 if identifier != 6 else 7
    if len(pack(other)) == len(pack(identifier)):
        assert not pattern.matches(asking(other, 1))


@pytest.mark.parametrize("dtype", ["float", "int64", "uint8", "bfloat16"])
def test_numbers_that_look_like_fields(dtype: str) -> None:
    plain = asking(b"12345678", *range(24), dtype=dtype)
    pattern = pattern_of(plain)
    assert pattern is not None
    fields = pack({"id": b"87654321", "inputs": [], "version": 7})
    size = len(read(plain)[1].inputs["x"].data) * {"float": 4, "int64": 8, "uint8": 1, "bfloat16": 2}[dtype]
    tricky = plain[:-size] + (fields * 20)[:size]
    assert pattern.matches(tricky)
    assert same(pattern.request_of(tricky), read(tricky)[1])
    again = pattern_of(tricky)
    assert again is not None
    assert again.matches(plain)
    assert same(again.request_of(plain), read(plain)[1])


@pytest.mark.parametrize("field", ["model", "signature", "label", "key"])
@pytest.mark.parametrize("text", ["id", "\xa2id", "inputs", "an id\x01"])
def test_names_that_hold_what_stands_for_the_id(field: str, text: str) -> None:
    one, other = asking(b"12345678", 1, **{field: text}), asking(b"xxxxxxxx", 2, **{field: text})
    pattern = pattern_of(one)
    assert pattern is not None
    assert pattern.matches(other)
    assert same(pattern.request_of(other), read(other)[1])


def test_outputs_and_aliases_of_these_names() -> None:
    for alias in ("id", "inputs", "x"):
        messages = [
            pack({"model": "m", "outputs": ["id", "inputs"], "id": name, "inputs": [[alias, "uint8", [3], data]]})
            for name, data in ((b"ab", b"\xa2id"), (b"cd", b"xyz"))
        ]
        for one in messages:
            pattern = pattern_of(one)
            assert pattern is not None
            for other in messages:
                assert pattern.matches(other)
                assert same(pattern.request_of(other), read(other)[1])


def test_a_field_behind_the_inputs_that_reads_like_their_numbers() -> None:
    """It is the version that varies then."""
    one, other = (
        pack({"id": 1, "inputs": [["x", "uint8", [1], b"\x01"]], "model": "m", "version": version}) for version in (1, 2)
    )
    pattern = pattern_of(one)
    assert pattern is None or not pattern.matches(other)
    junk = [pack({"id": 1, "model": "m", "inputs": [["x", "uint8", [2], b"ab"]], "junk": data}) for data in (b"ab", b"cd")]
    pattern = pattern_of(junk[0])
    assert pattern is None or not pattern.matches(junk[1])


def test_inputs_within_another_field() -> None:
    entry = ["x", "uint8", [2], b"ab"]
    one, other = (
        pack({"id": b"12", "inputs": [entry], "junk": {"inputs": [["x", "uint8", [2], data]]}}) for data in (b"ab", b"cd")
    )
    pattern = pattern_of(one)
    assert pattern is None or not pattern.matches(other)


@pytest.mark.parametrize("key", [b"\xd9\x02id", b"\xda\x00\x02id", b"\xdb\x00\x00\x00\x02id"])
def test_an_id_whose_key_is_written_at_length(key: bytes) -> None:
    """What reads like the id within another field is not the id."""

    def message(inner: bytes, outer: bytes) -> bytes:
        fields = (pack("junk") + pack({"id": inner}), key + pack(outer), pack("inputs") + pack([["x", "uint8", [1], b"a"]]))
        return bytes((0x80 + len(fields),)) + b"".join(fields)

    one, other = message(b"ab", b"ab"), message(b"cd", b"ab")
    assert read(other)[1].identifier == b"ab"
    pattern = pattern_of(one)
    if pattern is not None and pattern.matches(other):
        assert same(pattern.request_of(other), read(other)[1])


def test_a_field_that_is_there_twice() -> None:
    """The last one counts."""

    def message(first: bytes, second: bytes, numbers: bytes) -> bytes:
        inputs = pack([["x", "uint8", [1], numbers]])
        fields = (ID + pack(first), ID + pack(second), pack("inputs") + inputs, pack("inputs") + inputs)
        return bytes((0x80 + len(fields),)) + b"".join(fields)

    one = message(b"ab", b"ab", b"1")
    pattern = pattern_of(one)
    for other in (message(b"cd", b"ab", b"1"), message(b"ab", b"cd", b"1"), message(b"ab", b"ab", b"2")):
        if pattern is not None and pattern.matches(other):
            assert same(pattern.request_of(other), read(other)[1])


@pytest.mark.parametrize(
    "message",
    [
        pack({"model": "m", "id": b"ab", "inputs": [["x", "string", [1], ["text"]]]}),
        pack({"model": "m", "id": b"ab", "inputs": [["x", "bool", [1], b"\1"]]}),
        pack({"model": "m", "id": b"ab", "inputs": [["x", "float", [], b"1234"]]}),
        pack({"model": "m", "id": b"ab", "inputs": [["x", "float", [0], b""]]}),
        pack({"model": "m", "id": b"ab", "inputs": [["x", "float", [1], b"1234"], ["y", "float", [1], b"1234"]]}),
        pack({"model": "m", "inputs": [["x", "float", [1], b"1234"]]}),
        pack({"model": "m", "inputs": [["x", "float", [1], b"1234"]], "id": b"ab"}),
        pack({"model": "m", "id": b"ab", "inputs": [["x", "float", [20_000], bytes(80_000)]]}),
        pack({"model": "m", "id": b"ab", "inputs": []}),
        pack({"id": b"ab", "inputs": [["x", "float", [1], b"1234"]]}),
        pack({"model": "m", "version": 1, "label": "a", "id": b"ab", "inputs": [["x", "float", [1], b"1234"]]}),
    ],
)
def test_messages_that_have_to_be_parsed(message: bytes) -> None:
    """Strings, scalars, nothing, several inputs, no id, numbers that are not last; large ones; bools, whose bytes are
    checked; no model, or two versions."""
    assert pattern_of(message) is None


# Values that have much in common, so that what is one thing in a message is likely to be found in another one.
BYTES = [b"\x01", b"\x02", b"a", b"\xa2id", b"\xa2id\xc0", b"ab", b"cd", b"\xa2id\xc4\x02ab"]
TEXTS = ["m", "id", "inputs", "\xa2id", "ab", "cd", "ab\udcff"]
NUMBERS = [1, 2, 97, 127, 128, 255, 1 << 16, 1 << 40]
SCALARS = [
    *map(pack, [*BYTES, *TEXTS, *NUMBERS, None, True, -1, -40, 0.5]),
    b"\xcc\x01", b"\xcc\x02", b"\xcd\x00\x01", b"\xca\x3f\x80\x00\x00", b"\xca\x3f\x00\x00\x00",
    b"\xc5\x00\x02ab", b"\xc5\x00\x02cd", b"\xd9\x02ab", b"\xd9\x02cd",
]  # fmt: skip
INPUTS = [pack([["x", dtype, [len(data)], data]]) for dtype in ("uint8", "int8", "bool") for data in BYTES]
JUNK = [
    *SCALARS,
    *INPUTS,
    *(b"\x81" + pack(key) + value for key in ("id", "inputs") for value in (*SCALARS, *INPUTS)),
    *(b"\x92" + pack("id") + value for value in SCALARS),
]
VALUES: dict[str, list[bytes]] = {
    "id": SCALARS,
    "inputs": INPUTS,
    "version": [pack(number) for number in NUMBERS],
    "model": [pack(text) for text in TEXTS],
    "key": [pack(text) for text in TEXTS],
    "junk": JUNK,
    "xid": JUNK,
}
HEADS = (
    lambda size: bytes((0xA0 + size,)),
    lambda size: bytes((0xD9, size)),
    lambda size: b"\xda" + struct.pack(">H", size),
    lambda size: bytes((0xC4, size)),
)


def alike(chance: random.Random) -> tuple[bytes, bytes]:
    """Two messages with the same fields, which share many values."""
    names = chance.choices(sorted(VALUES), k=chance.randrange(4))
    for name, often in (("model", 0.9), ("id", 0.8), ("inputs", 0.95)):
        if name not in names and chance.random() < often:
            names.append(name)
    if chance.random() < 0.5:
        chance.shuffle(names)
    messages = [bytes((0x80 + len(names),))] * 2
    last: dict[str, list[bytes]] = {}
    for name in names:
        head = HEADS[chance.choices(range(len(HEADS)), (20, 1, 1, 1))[0]](len(name)) + name.encode()
        value = last[name][0] if name in last else chance.choice(VALUES[name])
        fitting = [other for other in VALUES[name] if len(other) == len(value)]
        values = last[name] = [value, chance.choice(fitting) if chance.random() < 0.3 else value]
        messages = [message + head + found for message, found in zip(messages, values, strict=True)]
    return messages[0], messages[1]


def check(one: bytes, other: bytes) -> bool:
    """Are they of one pattern? Then what parsing says of them has to be the same."""
    try:
        pattern = pattern_of(one)
    except (ServingError, AssertionError):
        return False
    if pattern is None or len(one) != len(other):
        return False
    matches = pattern.matches(other)
    assert pattern.matches_all(matrix_of(one + other, 2)) is pattern.matches_all(matrix_of(b"head" + other, 1, 4)) is matches
    if not matches:
        return False
    _, request = read(other)
    assert same(pattern.request_of(other), request), (one, other)
    assert pack(msgpack.unpackb(pattern.packed_id(other), unicode_errors="surrogateescape")) == pack(request.identifier)
    assert Burst.of(pattern, [one, other]).rows.tobytes() == b"".join(
        np.asarray(tensor.data).tobytes() for message in (one, other) for tensor in read(message)[1].inputs.values()
    )
    rest = [{key: value for key, value in read(m)[0].items() if key not in ("id", "inputs")} for m in (one, other)]
    assert rest[0] == rest[1], "whatever else it says"
    return True


@pytest.mark.parametrize("seed", range(4))
def test_what_is_of_one_pattern_reads_like_it(seed: int) -> None:
    chance, found = random.Random(seed), 0
    for _ in range(4000):
        one, other = alike(chance)
        check(one, one)
        found += check(one, other)
    assert found > 150


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([asking(first, 1, 2, version=3) for first, _ in IDS]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_bytes_that_changed(message: bytes, changes: list[tuple[int, int]]) -> None:
    """Wherever they lie: it is another message, or the id and the numbers are others."""
    changed = bytearray(message)
    for at, byte in changes:
        changed[at % len(message)] = byte
    check(message, bytes(changed))


def test_patterns_are_found_again_and_do_not_grow_without_end() -> None:
    patterns = Patterns()
    message = asking(b"12345678", 1)
    assert patterns.find(message) is None
    patterns.note(message, read(message)[1])
    assert patterns.find(asking(b"abcdefgh", 9)) is not None
    for index in range(20):
        other = asking(b"12345678", 1, key=f"{index:04}")
        patterns.note(other, read(other)[1])
        assert patterns.find(other) is not None
    for length in range(1, 1000):
        other = asking(b"12345678", *range(length))
        patterns.note(other, read(other)[1])
    known = patterns._known.values()
    assert len(known) <= 256 and all(len(alike) <= 4 for alike in known)
