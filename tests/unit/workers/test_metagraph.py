"""Signatures read out of a MetaGraphDef without parsing its graph, against protobuf parsing all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME
from workers.tf.metagraph import MOST_DEFAULT_BYTES, read_signatures, signature_part

MESSAGES = message_module("tensorflow.core.protobuf.meta_graph_pb2")
SAVED_MODEL = message_module("tensorflow.core.protobuf.saved_model_pb2")


def whole(metagraph: Any) -> memoryview:
    return memoryview(metagraph.SerializeToString())


def metagraphs(models: Path) -> dict[str, Any]:
    """Of every test model that can be read."""
    found = {}
    for file in sorted(models.glob("*/*/saved_model.pb")):
        if file.parent.parent.name != "broken":
            saved = SAVED_MODEL.SavedModel.FromString(file.read_bytes())
            found[f"{file.parent.parent.name}/{file.parent.name}"] = saved.meta_graphs[0]
    return found


def tensor_info(name: str, dtype: int, dims: list[int] | None) -> Any:
    info = MESSAGES.TensorInfo(name=name, dtype=dtype)
    if dims is None:
        info.tensor_shape.unknown_rank = True
    for size in dims or []:
        info.tensor_shape.dim.add(size=size)
    return info


def one_signature(**inputs: Any) -> Any:
    metagraph = MESSAGES.MetaGraphDef()
    signature = metagraph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for alias, info in inputs.items():
        signature.inputs[alias].CopyFrom(info)
    return metagraph


def test_the_part_holds_every_signature_and_nothing_else(models: Path) -> None:
    found = metagraphs(models)
    assert len(found) > 15
    for name, metagraph in found.items():
        part = MESSAGES.MetaGraphDef.FromString(signature_part(whole(metagraph)))
        assert part.signature_def == metagraph.signature_def, name
        assert {field.name for field, _ in part.ListFields()} <= {"signature_def"}, name


def test_signatures_say_what_the_messages_say(models: Path) -> None:
    for name, metagraph in metagraphs(models).items():
        signatures, shown = read_signatures(whole(metagraph))
        assert set(signatures) == set(shown) == set(metagraph.signature_def), name
        for key, definition in metagraph.signature_def.items():
            signature = signatures[key]
            assert (signature.name, signature.method) == (key, definition.method_name)
            for specs, infos in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
                assert [spec.alias for spec in specs] == sorted(infos)
                for spec in specs:
                    info = infos[spec.alias]
                    assert (spec.name, spec.dtype.number) == (info.name, info.dtype)
                    shape = info.tensor_shape
                    assert spec.shape == (None if shape.unknown_rank else tuple(dim.size for dim in shape.dim))


def test_signatures_survive_the_wire(models: Path) -> None:
    for metagraph in metagraphs(models).values():
        for signature in read_signatures(whole(metagraph))[0].values():
            assert Signature.from_wire(signature.to_wire()) == signature


def test_an_unknown_rank_is_not_a_scalar() -> None:
    metagraph = one_signature(
        any=tensor_info("any:0", 1, None), none=tensor_info("none:0", 3, []), some=tensor_info("some:0", 7, [-1, 4])
    )
    signature = read_signatures(whole(metagraph))[0]["serving_default"]
    assert signature.inputs == (
        TensorSpec("any", "any:0", BY_NAME["float"], None),
        TensorSpec("none", "none:0", BY_NAME["int32"], ()),
        TensorSpec("some", "some:0", BY_NAME["string"], (-1, 4)),
    )
    assert [spec.row for spec in signature.inputs] == [None, None, (4,)]


def with_default(alias: str, dtype: int, *dims: int, **values: Any) -> Any:
    metagraph = one_signature(x=tensor_info("x:0", 1, [-1]), y=tensor_info("y:0", 1, [-1]))
    value = metagraph.signature_def["serving_default"].defaults[alias]
    value.MergeFrom(type(value)(dtype=dtype, **values))
    for size in dims:
        value.tensor_shape.dim.add(size=size)
    return metagraph


def test_default_values() -> None:
    metagraph = with_default("y", 1, 2, float_val=[1.5])
    metagraph.signature_def["serving_default"].defaults["other"].dtype = 7
    signatures, shown = read_signatures(whole(metagraph))
    signature = signatures["serving_default"]
    assert [default.alias for default in signature.defaults] == ["other", "y"]
    dtype, shape, values = signature.defaults[1].decode()
    assert (dtype, shape, list(values)) == (1, (2,), [1.5, 1.5])
    assert shown["serving_default"]["defaults"]["y"]["float_val"] == [1.5]
    assert Signature.from_wire(signature.to_wire()) == signature


@pytest.mark.parametrize(
    ("metagraph", "size"),
    [
        (with_default("y", 1, MOST_DEFAULT_BYTES // 4), r"671088\d\d"),
        (with_default("y", 7, MOST_DEFAULT_BYTES // 64), r"671088\d\d"),
        (with_default("y", 1, 1 << 62, 1 << 62), r"\d{38}"),
        (with_default("y", 7, 1, string_val=[bytes(MOST_DEFAULT_BYTES)]), r"671089\d\d"),
    ],
)
def test_default_values_that_no_front_end_could_keep(metagraph: Any, size: str) -> None:
    with pytest.raises(ServingError, match=rf"take {size} bytes, more than {MOST_DEFAULT_BYTES}$") as caught:
        read_signatures(whole(metagraph))
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_default_values_that_are_no_tensors_are_no_reason_not_to_load() -> None:
    for metagraph in (with_default("y", 1, -1, 1 << 62), with_default("y", 1, *[2] * 255), with_default("y", 20)):
        (default,) = read_signatures(whole(metagraph))[0]["serving_default"].defaults
        with pytest.raises(ServingError, match=r": tensor parsing error: y$"):
            default.decode()


def test_what_the_metadata_request_shows() -> None:
    metagraph = one_signature(x=tensor_info("serving_default_x:0", 1, [-1, 3]))
    _, shown = read_signatures(whole(metagraph))
    assert shown["serving_default"]["method_name"] == "tensorflow/serving/predict"
    dims = [{"size": "-1", "name": ""}, {"size": "3", "name": ""}]
    assert shown["serving_default"]["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": "serving_default_x:0",
    }
    assert shown["serving_default"]["outputs"] == {}


FIELDS = st.one_of(
    st.tuples(st.integers(1, 4) | st.integers(6, 5000), st.just(0), st.integers(0, 2**64 - 1)),
    st.tuples(st.integers(1, 4) | st.integers(6, 5000), st.sampled_from([1, 5]), st.just(0)),
    st.tuples(st.integers(1, 4) | st.integers(6, 5000), st.just(2), st.binary(max_size=300)),
)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, kind: int, value: int | bytes) -> bytes:
    tag = varint(number << 3 | kind)
    if isinstance(value, bytes):
        return tag + varint(len(value)) + value
    return tag + (varint(value) if kind == 0 else bytes(8 if kind == 1 else 4))


@given(st.lists(FIELDS, max_size=8), st.lists(FIELDS, max_size=8))
def test_fields_of_any_kind_are_walked_over(before: list[Any], after: list[Any]) -> None:
    """Also those that this version of the messages does not know."""
    signature = one_signature(x=tensor_info("x:0", 1, [-1])).SerializeToString()
    data = b"".join(field(*item) for item in before) + signature + b"".join(field(*item) for item in after)
    assert signature_part(memoryview(data)) == signature


def test_nothing_in_nothing_out() -> None:
    assert signature_part(memoryview(b"")) == b""
    assert read_signatures(memoryview(b"")) == ({}, {})


def test_a_group_is_no_field_of_ours() -> None:
    with pytest.raises(ServingError) as caught:
        signature_part(memoryview(field(1, 2, b"graph") + varint(6 << 3 | 3)))
    assert caught.value.code == Code.DATA_LOSS
