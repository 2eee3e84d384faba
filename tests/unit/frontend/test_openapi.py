"""The OpenAPI document: valid, complete, and its schemas fit what the models take and give."""

from __future__ import annotations

import asyncio
import json
import string
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_catalogs import end, load, report
from made_signatures import signature, spec
from openapi_spec_validator import OpenAPIV31SpecValidator

from frontend.catalog import Catalog
from frontend.rest.openapi import openapi_reply
from frontend.rest.sample_body import sample_body
from ringserve import __version__
from ringserve.errors import Code
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.servable import State
from ringserve.signature import Signature
from ringserve.tensor import DTYPES

ONE = signature(spec("x", shape=(-1, 2)), outputs=(spec("y", shape=(-1, 2)),))
EXAMPLES = (spec("inputs", "string"),)


def document(catalog: Catalog) -> Any:
    reply = asyncio.run(openapi_reply(catalog))
    assert (reply.status, reply.content_type) == (200, "application/json")
    found = json.loads(reply.body)
    OpenAPIV31SpecValidator(found).validate()
    return found


def served(*signatures: Signature) -> Any:
    catalog = Catalog()
    load(catalog, "m", 1, *signatures)
    return document(catalog)


def schema(found: Any, verb: str = "predict", answer: bool = False) -> Any:
    """Of a model's JSON bodies, by itself."""
    operation = found["paths"][f"/v1/models/m:{verb}"]["post"]
    content = operation["responses"]["200"] if answer else operation["requestBody"]
    return {**content["content"]["application/json"]["schema"], "components": found["components"]}


def fits(body: Any, found: Any, verb: str = "predict", answer: bool = False) -> bool:
    return bool(jsonschema.Draft202012Validator(schema(found, verb, answer)).is_valid(body))


def test_a_server_without_models() -> None:
    found = document(Catalog())
    assert found["openapi"] == "3.1.0"
    assert found["info"]["version"] == __version__
    assert set(found["paths"]) == {"/livez", "/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/"}
    reply = asyncio.run(openapi_reply(Catalog(), ["/metrics", "/monitoring/prometheus/metrics"]))
    assert "/monitoring/prometheus/metrics" in json.loads(reply.body)["paths"]


def test_paths_of_a_model() -> None:
    catalog = Catalog()
    for number in (1, 2):
        load(catalog, "m", number, ONE, Signature("c", CLASSIFY, EXAMPLES, (spec("scores"),)))
    report(catalog, "m", 3, State.END, Code.INTERNAL, "broken")
    catalog.set_labels("m", {"stable": [(1, 1.0)], "ahead": [(3, 1.0)]})
    paths = document(catalog)["paths"]
    assert [path for path in paths if path.startswith("/v1/models")] == [
        "/v1/models/m",
        "/v1/models/m/versions/{version}",
        "/v1/models/m/metadata",
        "/v1/models/m:predict",
        "/v1/models/m:classify",
        "/v1/models/m/versions/{version}/metadata",
        "/v1/models/m/versions/{version}:predict",
        "/v1/models/m/versions/{version}:classify",
        "/v1/models/m/labels/{label}/metadata",
        "/v1/models/m/labels/{label}:predict",
        "/v1/models/m/labels/{label}:classify",
    ]
    assert paths["/v1/models/m/versions/{version}"]["get"]["parameters"][0]["schema"]["enum"] == [3, 2, 1]
    assert paths["/v1/models/m/versions/{version}:predict"]["post"]["parameters"][0]["schema"]["enum"] == [2, 1]
    assert paths["/v1/models/m/labels/{label}:predict"]["post"]["parameters"][0]["schema"]["enum"] == ["stable"]
    assert set(paths["/v1/models/m:predict"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "application/x-npy",
        "application/x-npz",
        "application/octet-stream",
        "application/x-msgpack",
        "application/x-protobuf",
    }


def test_requests_for_inference_have_a_priority() -> None:
    catalog = Catalog()
    load(catalog, "m", 1, ONE, Signature("c", CLASSIFY, EXAMPLES, (spec("scores"),)))
    catalog.set_labels("m", {"stable": [(1, 1.0)]})
    found = document(catalog)
    assert found["components"]["parameters"]["Priority"]["schema"]["enum"] == ["high", "low"]
    assert found["components"]["parameters"]["Priority"]["name"] == "X-Priority"
    priority = {"$ref": "#/components/parameters/Priority"}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            assert (priority in operation.get("parameters", [])) == path.endswith((":predict", ":classify")), path


def test_versions_with_other_signatures_have_paths_of_their_own() -> None:
    catalog = Catalog()
    load(catalog, "m", 1, ONE)
    load(catalog, "m", 2, signature(spec("z"), outputs=(spec("y"),)))
    catalog.set_labels("m", {"both": [(1, 1.0), (2, 1.0)]})
    found = document(catalog)
    assert "/v1/models/m/versions/{version}:predict" not in found["paths"]
    schemas = [
        found["paths"][f"/v1/models/m{part}:predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for part in ("", "/versions/2", "/versions/1", "/labels/{label}")
    ]
    assert schemas[0] == schemas[1] != schemas[2]
    assert schemas[3] == {"anyOf": [schemas[1], schemas[2]]}


def test_a_model_without_a_version_has_states_only() -> None:
    catalog = Catalog()
    catalog.set_models(["empty", "gone"])
    load(catalog, "gone", 1, ONE)
    end(catalog, "gone", 1)
    paths = document(catalog)["paths"]
    expected = {"/v1/models/empty", "/v1/models/gone", "/v1/models/gone/versions/{version}"}
    assert {path for path in paths if path.startswith("/v1/models")} == expected
    assert paths["/readyz/{model}"]["get"]["parameters"][0]["schema"]["enum"] == ["empty", "gone"]


def anything(*documents: Any) -> tuple[Any, ...]:
    """Documents of different types."""
    return documents


def test_classify_and_regress() -> None:
    found = served(
        Signature("c", CLASSIFY, EXAMPLES, (spec("scores"),)),
        Signature("serving_default", REGRESS, EXAMPLES, (spec("outputs"),)),
    )
    for features in anything({}, {"x": 1.0}, {"x": [1, 2], "y": "text", "z": {"b64": "AAAA"}, "w": []}):
        assert fits({"examples": [features], "context": features}, found, "regress")
        assert not fits({"examples": [features]}, found, "classify")
        assert fits({"signature_name": "c", "examples": [features]}, found, "classify")
    for wrong in anything(
        {"examples": []}, {"examples": {}}, {}, {"examples": [{"x": None}]}, {"examples": [{"x": {"y": 1}}]}
    ):
        assert not fits(wrong, found, "regress")
    assert fits({"results": [1.0, 2]}, found, "regress", answer=True)
    assert fits({"results": [[["a", 0.5], ["", 0.5]]]}, found, "classify", answer=True)
    assert not fits({"results": [["a", 0.5]]}, found, "classify", answer=True)


def test_predict_bodies_of_one_input() -> None:
    found = served(ONE)
    for right in anything(
        {"instances": [[1.0, 2.0]]},
        {"instances": [{"x": [1, 2]}, [3, 4]]},
        {"signature_name": "serving_default", "inputs": [[1.0, 2.0]]},
        {"inputs": {"x": []}},
    ):
        assert fits(right, found), right
    for wrong in anything(
        {},
        {"instances": []},
        {"instances": [1.0]},
        {"instances": [[1.0]]},
        {"instances": [["1", "2"]]},
        {"instances": [{"y": [1, 2]}]},
        {"instances": [[1, 2]], "inputs": [[1, 2]]},
        {"inputs": {}},
        {"inputs": [[1e39, 1]]},
        {"signature_name": "other", "inputs": [[1, 2]]},
        [],
    ):
        assert not fits(wrong, found), wrong
    for answer in anything({"predictions": [[1.0, 2.0]]}, {"outputs": [[1.0]]}, {"predictions": [1]}):
        assert fits(answer, found, answer=True), answer
    for answer in anything({"predictions": [["1"]]}, {"predictions": {}}, {}, {"outputs": 1, "predictions": []}):
        assert not fits(answer, found, answer=True), answer


def test_predict_bodies_of_several_inputs_and_signatures() -> None:
    outputs = (spec("y_bytes", "string"), spec("z", "int64"))
    found = served(ONE, signature(spec("a", "bool"), spec("b", "string", ()), outputs=outputs, name="two"))
    assert fits({"signature_name": "two", "inputs": {"a": [True], "b": "text"}}, found)
    assert fits({"signature_name": "two", "inputs": {"a": [True], "b": {"b64": "AAAA"}, "more": 1}}, found)
    assert fits({"instances": [[1, 2]]}, found)
    assert not fits({"signature_name": "two", "inputs": {"a": [True]}}, found)
    assert not fits({"signature_name": "two", "inputs": {"a": [1], "b": ""}}, found)
    assert not fits({"signature_name": "two", "instances": [{"a": True, "b": ""}]}, found)  # a scalar has no rows
    for text in ("", "AA==", "AAA=", "AAAA", "+/+/AA=="):
        assert fits({"outputs": {"y_bytes": [{"b64": text}], "z": 1}}, found, answer=True)
    assert not fits({"outputs": {"y_bytes": ["text"], "z": 1}}, found, answer=True)


@pytest.mark.parametrize(
    "dtype", [DTYPES[number] for number in sorted(DTYPES)], ids=[DTYPES[number].name for number in sorted(DTYPES)]
)
def test_every_type(dtype: Any) -> None:
    """Types that JSON can't carry leave the binary bodies."""
    found = served(signature(spec("x", dtype.name), outputs=(spec("y", dtype.name, None),)))
    content = found["paths"]["/v1/models/m:predict"]["post"]["requestBody"]["content"]
    plain = {"float", "double", "bool", "string", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"}
    assert ("application/json" in content) == (dtype.name in plain)
    assert "application/x-msgpack" in content


def test_names_that_need_escapes() -> None:
    catalog = Catalog()
    names = ["a b", "a/b", "a:b", "a{b}", "mé", "a?b", "~#%"]
    for name in names:
        load(catalog, name, 1, ONE)
    found = document(catalog)
    paths = [path for path in found["paths"] if path.endswith(":predict") and "versions" not in path]
    assert sorted(paths) == sorted(
        f"/v1/models/{path}:predict" for path in ("a%20b", "a%2Fb", "a%3Ab", "a%7Bb%7D", "m%C3%A9", "a%3Fb", "~%23%25")
    )
    assert set("".join(found["components"]["schemas"])) <= set(string.ascii_letters + string.digits + "._-")


def test_names_that_differ_in_their_escapes_only_keep_their_schemas() -> None:
    catalog = Catalog()
    load(catalog, "a?", 1, ONE)
    load(catalog, "a!", 1, signature(spec("other"), outputs=(spec("y"),)))
    found = document(catalog)
    references = {
        found["paths"][f"/v1/models/{path}:predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for path in ("a%3F", "a%21")
    }
    assert len(references) == 2


dims = st.lists(st.integers(-1, 3), max_size=3).map(tuple)
specs = st.builds(
    spec,
    st.sampled_from(["a", "b", "c_bytes", 'q"<']),
    st.sampled_from(["float", "double", "int8", "uint64", "bool", "string"]),
    st.none() | dims,
)


@given(
    st.lists(specs, min_size=1, max_size=3, unique_by=lambda s: s.alias),
    st.lists(specs, min_size=1, max_size=2, unique_by=lambda s: s.alias),
)
@settings(max_examples=60, deadline=None)
def test_samples_of_the_page_fit_the_document(inputs: list[Any], outputs: list[Any]) -> None:
    made = signature(*inputs, outputs=tuple(outputs))
    catalog = Catalog()
    load(catalog, "m", 1, made)
    body = sample_body(made)
    assert body is not None
    assert fits(json.loads(body), json.loads(asyncio.run(openapi_reply(catalog)).body))


def test_versions_share_a_path_in_whatever_order_their_signatures_are() -> None:
    one, two = signature(spec("x"), outputs=(spec("y"),)), signature(spec("x"), outputs=(spec("y"),), name="other")
    catalog = Catalog()
    load(catalog, "m", 1, one, two)
    load(catalog, "m", 2, two, one)
    assert "/v1/models/m/versions/{version}:predict" in json.loads(asyncio.run(openapi_reply(catalog)).body)["paths"]
