"""GetModelMetadata: nothing of a model's signatures is lost on the way from its file to a client."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.catalog import Catalog, Version
from frontend.grpc.model_metadata import get_model_metadata
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.servable import ServableId
from ringserve.signature import Signature
from workers.plugin_signatures import shown
from workers.tf.metagraph import read_signatures

MESSAGES = message_module("tensorflow_serving.apis.get_model_metadata_pb2")
META_GRAPH = message_module("tensorflow.core.protobuf.meta_graph_pb2")
SAVED_MODEL = message_module("tensorflow.core.protobuf.saved_model_pb2")
DATA = Path(__file__).parents[2] / "data"


def request(name: str = "m", *fields: str, version: int | None = None, label: str | None = None, spec: bool = True) -> bytes:
    message = MESSAGES.GetModelMetadataRequest(metadata_field=fields)
    if spec:
        message.model_spec.name = name
        message.model_spec.signature_name = "ignored"
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    data: bytes = message.SerializeToString()
    return data


def add(catalog: Catalog, metadata: Any, version: int = 1) -> Version:
    """A version whose metadata has come the way that it comes from a worker, twice through a control channel."""
    for _ in range(2):
        metadata = msgpack.unpackb(msgpack.packb(metadata), strict_map_key=False)
    added = Version(ServableId("m", version), {"metadata": metadata, "signatures": []}, lambda _: None)
    catalog.add(added)
    return added


def ask(catalog: Catalog, data: bytes) -> tuple[Any, Any]:
    """The response, and the signatures in it."""
    response = MESSAGES.GetModelMetadataResponse.FromString(get_model_metadata(data, catalog))
    assert list(response.metadata) == ["signature_def"]
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    return response, MESSAGES.SignatureDefMap.FromString(packed.value)


def plain(signatures: Any) -> dict[str, bytes]:
    return {name: definition.SerializeToString(deterministic=True) for name, definition in signatures.items()}


@pytest.mark.parametrize("file", sorted(DATA.glob("*/*/saved_model.pb")), ids=lambda file: f"{file.parent.parent.name}")
def test_all_signatures_of_a_model_as_they_are_in_its_file(file: Path) -> None:
    metagraph = SAVED_MODEL.SavedModel.FromString(file.read_bytes()).meta_graphs[0]
    catalog = Catalog()
    add(catalog, read_signatures(memoryview(metagraph.SerializeToString()))[1], 123)
    response, found = ask(catalog, request("m", "signature_def"))
    assert plain(found.signature_def) == plain(metagraph.signature_def)
    assert len(found.signature_def) > 1
    if file.parent.parent.name == "saved_model_half_plus_two_tf2_cpu":
        assert "__saved_model_init_op" in found.signature_def
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 123, "")
    assert spec.WhichOneof("version_choice") == "version"


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SHAPES = st.none() | st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), NAMES), max_size=4)
DTYPES = st.sampled_from([0, 1, 7, 9, 23, 101, 999])  # none, some, a reference, and one that is not known
FLOATS = st.floats(width=32, allow_nan=False)


def info_of(draw: Any) -> Any:
    info = META_GRAPH.TensorInfo(dtype=draw(DTYPES))
    kind = draw(st.sampled_from(["none", "name", "sparse", "composite"]))
    if kind == "name":
        info.name = draw(NAMES)
    elif kind == "sparse":
        info.coo_sparse.values_tensor_name = draw(NAMES)
    elif kind == "composite":
        info.composite_tensor.type_spec.type_spec_class_name = draw(NAMES)
        info.composite_tensor.components.add(name=draw(NAMES), dtype=1)
    if draw(st.booleans()):
        shape = draw(SHAPES)
        info.tensor_shape.SetInParent()
        info.tensor_shape.unknown_rank = shape is None
        for size, name in shape or ():
            info.tensor_shape.dim.add(size=size, name=name)
    return info


def tensor_of(draw: Any) -> Any:
    """A default input, with values of any kind."""
    holder = META_GRAPH.SignatureDef()
    tensor = holder.defaults["x"]
    tensor.dtype = draw(DTYPES)
    tensor.tensor_content = draw(st.binary(max_size=20))
    tensor.float_val.extend(draw(st.lists(FLOATS, max_size=3)))
    tensor.double_val.extend(draw(st.lists(st.floats(allow_nan=False), max_size=3)))
    tensor.string_val.extend(draw(st.lists(st.binary(max_size=9), max_size=3)))
    tensor.int64_val.extend(draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
    tensor.uint64_val.extend(draw(st.lists(st.integers(0, 2**64 - 1), max_size=3)))
    tensor.bool_val.extend(draw(st.lists(st.booleans(), max_size=3)))
    tensor.half_val.extend(draw(st.lists(st.integers(0, 65535), max_size=3)))
    for size in draw(st.lists(st.integers(0, 9), max_size=2)):
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@st.composite
def metagraphs(draw: Any) -> Any:
    metagraph = META_GRAPH.MetaGraphDef()
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        definition = metagraph.signature_def[name]
        definition.method_name = draw(NAMES)
        for tensors in (definition.inputs, definition.outputs):
            for alias in draw(st.lists(NAMES, max_size=3, unique=True)):
                tensors[alias].CopyFrom(info_of(draw))
        for alias in draw(st.lists(NAMES, max_size=2, unique=True)):
            definition.defaults[alias].CopyFrom(tensor_of(draw))
    return metagraph


@settings(deadline=None, max_examples=60)
@given(metagraphs())
def test_any_signatures(metagraph: Any) -> None:
    """By way of the JSON form that the metadata route shows."""
    from google.protobuf import json_format  # noqa: PLC0415 - after its messages

    catalog = Catalog()
    metadata = {
        name: json_format.MessageToDict(
            definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, definition in metagraph.signature_def.items()
    }
    add(catalog, metadata)
    _, found = ask(catalog, request("m", "signature_def"))
    assert plain(found.signature_def) == plain(metagraph.signature_def)


def test_defaults_are_read_from_the_model_too() -> None:
    metagraph = META_GRAPH.MetaGraphDef()
    definition = metagraph.signature_def["serving_default"]
    definition.inputs["x"].name, definition.inputs["x"].dtype = "x:0", 1
    default = definition.defaults["x"]
    default.dtype = 1
    default.tensor_shape.dim.add(size=3)
    default.float_val.extend([-0.0, math.inf, math.nan])
    catalog = Catalog()
    add(catalog, read_signatures(memoryview(metagraph.SerializeToString()))[1])
    _, found = ask(catalog, request("m", "signature_def"))
    assert plain(found.signature_def) == plain(metagraph.signature_def)


def test_a_plug_ins_signatures() -> None:
    made = Signature.of({"key": ("string", (-1,))}, {"value": ("float", None), "none": ("int64", ())})
    catalog = Catalog()
    add(catalog, shown({made.name: made}))
    _, found = ask(catalog, request("m", "signature_def"))
    (definition,) = found.signature_def.values()
    assert list(found.signature_def) == ["serving_default"]
    assert (definition.inputs["key"].dtype, [dim.size for dim in definition.inputs["key"].tensor_shape.dim]) == (7, [-1])
    assert (definition.outputs["value"].dtype, definition.outputs["value"].tensor_shape.unknown_rank) == (1, True)
    assert (definition.outputs["none"].dtype, definition.outputs["none"].tensor_shape.unknown_rank) == (9, False)


def test_the_field_may_be_repeated_and_the_answer_is_that_of_the_version() -> None:
    catalog = Catalog()
    for version in (1, 2):
        add(catalog, {f"of {version}": {"method_name": ""}}, version)
    catalog.set_labels("m", {"old": [(1, 1.0)]})
    for data, version in (
        (request("m", "signature_def"), 2),
        (request("m", *["signature_def"] * 3), 2),
        (request("m", "signature_def", version=1), 1),
        (request("m", "signature_def", label="old"), 1),
    ):
        for _ in range(2):
            response, found = ask(catalog, data)
            assert response.model_spec.version.value == version
            assert list(found.signature_def) == [f"of {version}"]


def test_a_version_that_is_loaded_anew_is_another() -> None:
    catalog = Catalog()
    for name in ("before", "after"):
        add(catalog, {name: {"method_name": ""}})
        assert list(ask(catalog, request("m", "signature_def"))[1].signature_def) == [name]


def test_the_version_is_given_up() -> None:
    catalog = Catalog()
    add(catalog, {"broken": {"no such field": 1}})
    with pytest.raises(Exception, match="no such field"):
        get_model_metadata(request("m", "signature_def"), catalog)
    add(catalog, {"a": {"method_name": ""}})
    ask(catalog, request("m", "signature_def"))
    handle = catalog.retire(ServableId("m", 1))
    assert handle is not None
    assert handle.holders == 0


NO_FIELD = "GetModelMetadataRequest must specify at least one metadata_field"


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"", Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (request("", "nonsense", spec=False), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (request(""), Code.INVALID_ARGUMENT, NO_FIELD),
        (request("none"), Code.INVALID_ARGUMENT, NO_FIELD),
        (request("", "x"), Code.INVALID_ARGUMENT, "Metadata field x is not supported"),
        (request("m", "signature_def", ""), Code.INVALID_ARGUMENT, "Metadata field  is not supported"),
        (request("", "signature_def"), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (request("n", "signature_def"), Code.NOT_FOUND, "Servable not found for request: Latest(n)"),
        (request("m", "signature_def", version=3), Code.NOT_FOUND, "Servable not found for request: Specific(m, 3)"),
        (request("m", "signature_def", version=0), Code.NOT_FOUND, "Servable not found for request: Specific(m, 0)"),
        (request("n", "signature_def", label="l"), Code.INVALID_ARGUMENT, "Unrecognized servable version label: l"),
    ],
)
def test_what_is_refused(data: bytes, code: Code, text: str) -> None:
    catalog = Catalog()
    add(catalog, {})
    with pytest.raises(ServingError) as caught:
        get_model_metadata(data, catalog)
    assert (caught.value.code, caught.value.message) == (code, text)


def test_bytes_that_are_no_request() -> None:
    with pytest.raises(ServingError, match="The request is no GetModelMetadataRequest: ") as caught:
        get_model_metadata(b"\x0a\x7f", Catalog())
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("number", [3.4028234663852886e38, -3.4028234663852886e38, 3.4028232635611926e38])
def test_the_largest_floats_as_defaults(number: float) -> None:
    graph = META_GRAPH.MetaGraphDef()
    default = graph.signature_def["s"].defaults["x"]
    default.dtype = 1
    default.float_val.append(number)
    catalog = Catalog()
    add(catalog, read_signatures(memoryview(graph.SerializeToString()))[1])
    _, found = ask(catalog, request("m", "signature_def"))
    assert list(found.signature_def["s"].defaults["x"].float_val) == [number]
