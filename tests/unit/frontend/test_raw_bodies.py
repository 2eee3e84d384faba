"""Bodies that are bytes, whose type and shape headers or the signature say."""

from __future__ import annotations

import numpy as np
import pytest
from binary_bodies import ONE, RAW, TWO, encoded, headers_of, inputs, lone, numbers, of_type, refusal, texts
from hypothesis import given
from hypothesis import strategies as st

from frontend.bodies.element_types import named_dtype, numpy_name
from frontend.bodies.negotiation import decoder
from frontend.bodies.raw_body import parse_shape
from ringserve.errors import ServingError
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME, DTYPES

DTYPE, SHAPE = "X-Ringserve-Dtype", "X-Ringserve-Shape"
X = np.arange(12, dtype="<f4")


def test_without_such_a_header_it_is_json() -> None:
    """Upstream looks at no content type, and clients send JSON as bytes."""
    assert decoder(RAW, headers_of({})) is None
    assert decoder(RAW, headers_of({"X-Ringserve-Outputs": "y"})) is None
    assert decoder(RAW, headers_of({DTYPE.lower(): "float"})) is not None
    assert decoder(RAW, headers_of({SHAPE.upper(): ""})) is not None


def test_a_view_of_the_body() -> None:
    body = X.tobytes()
    tensor = lone(RAW, body, "float", {DTYPE: "float32", SHAPE: "2,2,3"})
    assert tensor.shape == (2, 2, 3)
    assert np.shares_memory(np.frombuffer(body, np.uint8), tensor.data)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("2,2,3", (2, 2, 3)), (" 12 ", (12,)), ("(4, 3)", (4, 3)), ("[4,3]", (4, 3)), ("(12,)", (12,)), ("4,-1", (4, 3)),
        ("-1", (12,)), ("-1,2,3", (2, 2, 3)),
    ],
)  # fmt: skip
def test_shapes(text: str, shape: tuple[int, ...]) -> None:
    assert lone(RAW, X.tobytes(), "float", {SHAPE: text}).shape == shape


def test_scalars() -> None:
    for text in ("", "()", "[]"):
        assert lone(RAW, X[:1].tobytes(), "float", {SHAPE: text}).shape == ()


@pytest.mark.parametrize(
    "text", ["a", "1,,2", ",", "1.5", "-2", "1,2;3", "(1", "9" * 19, "1," * 65, "1" * 2000, "\uff11", "\udcff"]
)
def test_no_shapes(text: str) -> None:
    said = refusal(RAW, X.tobytes(), headers={SHAPE: text})
    assert said.startswith("X-Ringserve-Shape: ")
    assert "expected at most 64 dimensions with commas between them, like 1,224,224,3" in said
    assert len(said) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "999999999999999999,999999999999999999", "0,999999999999999999,999999999999999999", "-1,0", "-1,-1", "0,-1",
        "-1,999999999999999999,999999999999999999", ",".join(["999999999999999999"] * 64), "99999999999999999999",
        "1," * 10_000 + "1", "+1", "1_0", "0x1", "1e1", "\u0661", "\u00b2", "-0", "1\x00", "--1", "None",
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float", "string", "bool"])
@pytest.mark.parametrize("body", [b"", bytes(48)])
def test_shapes_that_fit_no_body(text: str, dtype: str, body: bytes) -> None:
    said = refusal(RAW, body, of_type(dtype), {SHAPE: text})
    assert "expected" in said or "is not the shape" in said


def test_shapes_without_elements() -> None:
    for text, shape in (("0", (0,)), ("0,3", (0, 3)), ("-1,3", (0, 3)), ("00,1", (0, 1))):
        assert lone(RAW, b"", "float", {SHAPE: text}).shape == shape
        assert lone(RAW, b"", "float", {SHAPE: text}).packed().shape == shape


@given(st.lists(st.integers(0, 10**17), max_size=64).map(tuple))
def test_any_shape_as_python_writes_it(shape: tuple[int, ...]) -> None:
    text = str(shape)
    if len(text) <= 1000:
        assert parse_shape(text) == parse_shape(",".join(map(str, shape))) == shape


def test_the_signature_says_what_no_header_does() -> None:
    assert inputs(RAW, X.tobytes(), ONE, {DTYPE: "float"})[0].shape == (4, 3)
    fixed = Signature.of({"x": ("float", (2, 6))}, {"y": ("float", None)})
    assert inputs(RAW, X.tobytes(), fixed, {DTYPE: "float"})[0].shape == (2, 6)
    tensor = inputs(RAW, X.tobytes(), of_type("int32"), {SHAPE: "12"})[0]
    assert tensor.dtype.name == "int32"


def test_what_cannot_be_worked_out() -> None:
    expected = "expected X-Ringserve-Shape with the dimensions, like 1,224,224,3"
    float32 = {DTYPE: "float32"}

    def declared(*shape: int) -> Signature:
        return Signature.of({"x": ("float", shape)}, {})

    assert refusal(RAW, X.tobytes(), of_type("float"), float32) == (
        f"the shape of a raw body can't be worked out from any rank: {expected}"
    )
    assert refusal(RAW, X.tobytes(), declared(-1, -1), float32).endswith(f"from [-1, -1]: {expected}")
    assert refusal(RAW, X.tobytes(), declared(-1, 5), float32).endswith(
        f"12 elements does not fit shape [-1, 5]: {expected}"
    )
    assert refusal(RAW, X.tobytes(), declared(-1, 0), float32).endswith(f"does not fit shape [-1, 0]: {expected}")
    assert refusal(RAW, X.tobytes(), declared(5), float32).endswith(f"but shape [5] has 5: {expected}")
    assert refusal(RAW, b"123", headers=float32).endswith("of 3 bytes; expected a multiple of 4 for float")
    assert refusal(RAW, X.tobytes(), TWO, float32).startswith("A body of application/octet-stream is one array")


def test_names_of_types() -> None:
    names = {"float32": "float", "float": "float", "DT_FLOAT": "float", "Float64": "double", "half": "half"}
    names |= {"float16": "half", "bfloat16": "bfloat16", "dt_qint8": "qint8", "str": "str"}
    for name, meant in names.items():
        assert named_dtype(name) is BY_NAME.get(meant)
    assert {named_dtype(name) for name in ("resource", "object", "", "dt_variant", "type_77")} == {None}
    for dtype in DTYPES.values():
        if dtype.numpy and dtype.name != "bfloat16" and "q" not in dtype.name:
            assert np.dtype(numpy_name(dtype)) == np.dtype(dtype.numpy)
            assert named_dtype(numpy_name(dtype)) is dtype
    said = refusal(RAW, b"", headers={DTYPE: "f\udcff" * 1000})
    assert said.startswith("X-Ringserve-Dtype: 'f")
    assert "expected a name like float32" in said
    assert len(said) < 1000


def test_types_are_not_converted() -> None:
    text = "Expects arg[0] to be float but double is provided"
    assert refusal(RAW, bytes(24), headers={DTYPE: "float64"}) == text
    assert refusal(RAW, bytes(12), of_type("float"), {DTYPE: "int32", SHAPE: "3"}) == text.replace("double", "int32")
    assert lone(RAW, bytes(2), "bfloat16", {SHAPE: "1"}).dtype.name == "bfloat16"
    assert lone(RAW, bytes(2), "qint8", {DTYPE: "int8", SHAPE: "2"}).dtype.name == "qint8"
    assert "neither 0 nor 1" in refusal(RAW, b"\2", of_type("bool"), {SHAPE: "1"})


def test_one_string_is_the_whole_body() -> None:
    picture = bytes(range(256))
    by_declaration = Signature.of({"x": ("string", (-1,))}, {"y": ("float", None)})
    assert inputs(RAW, picture, by_declaration, {DTYPE: "string"})[0] == texts(picture)
    assert lone(RAW, picture, "string", {SHAPE: ""}).shape == ()
    assert "1 elements, but shape [2] has 2" in refusal(RAW, picture, of_type("string"), {SHAPE: "2"})


def test_answers() -> None:
    body, given_headers = X.tobytes(), {DTYPE: "float32"}
    signature = Signature.of({"x": ("float", (-1,))}, {"y": ("double", None), "z": ("string", None)})
    outputs = [numbers("double", [[1, 2]]), texts(b"s")]
    answer = encoded(RAW, body, signature, outputs, {**given_headers, "X-Ringserve-Outputs": "y"})
    assert answer.content_type == RAW
    assert dict(answer.headers) == {DTYPE: "float64", SHAPE: "1,2"}
    assert np.frombuffer(answer.body, "<f8").tolist() == [1, 2]
    answer = encoded(RAW, body, signature, outputs, {**given_headers, "X-Ringserve-Outputs": "z"})
    assert (answer.body, dict(answer.headers)) == (b"s", {DTYPE: "string", SHAPE: "1"})
    assert type(answer.body) is bytes
    with pytest.raises(ServingError, match="a raw answer carries one string, not 2: ask for application/x-msgpack"):
        outputs[1] = texts(b"s", b"t")
        encoded(RAW, body, signature, outputs, {**given_headers, "X-Ringserve-Outputs": "z"})
    assert "name one with X-Ringserve-Outputs" in refusal(RAW, body, signature, given_headers)
    scalar = encoded(RAW, body, ONE, [numbers("float", 2)], given_headers)
    assert dict(scalar.headers) == {DTYPE: "float32", SHAPE: ""}
