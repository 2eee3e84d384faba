"""Signatures on their way between processes, and which rows they have."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.default_value import DefaultValue
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME, DTYPES, dtype_of

shapes = st.none() | st.lists(st.integers(-1, 1 << 40), max_size=5).map(tuple)
# Numbers without an entry of their own, and reference types, which count as what they refer to.
dtypes = st.sampled_from([*DTYPES, 24, 99, 101, 107]).map(dtype_of)
specs = st.builds(TensorSpec, alias=st.text(), name=st.text(), dtype=dtypes, shape=shapes)
spec_tuples = st.lists(specs, max_size=4).map(tuple)
defaults = st.lists(st.builds(DefaultValue, alias=st.text(), message=st.binary(max_size=40)), max_size=3).map(tuple)
signatures = st.builds(
    Signature, name=st.text(), method=st.text(), inputs=spec_tuples, outputs=spec_tuples, defaults=defaults
)


@given(signatures)
def test_a_signature_survives_the_wire(signature: Signature) -> None:
    again = Signature.from_wire(msgpack.unpackb(msgpack.packb(signature.to_wire())))
    assert again == signature
    assert hash(again) == hash(signature)


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        ((-1,), ()),
        ((-1, 3), (3,)),
        ((-1, 0), (0,)),
        ((-1, 224, 224, 3), (224, 224, 3)),
        ((-1, -1), None),
        ((-1, 3, -1), None),
        ((2, 3), None),
        ((), None),
        (None, None),
    ],
)
def test_rows_are_what_comes_after_an_unknown_first_dimension(
    shape: tuple[int, ...] | None, row: tuple[int, ...] | None
) -> None:
    assert TensorSpec("x", "x:0", BY_NAME["float"], shape).row == row
