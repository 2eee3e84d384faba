"""The running server does what its OpenAPI document says, whether requests fit the document or not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import hypothesis
import msgpack
import numpy as np
import pytest
import schemathesis
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from end_to_end.conftest import DATA
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer

#: Examples of each operation: requests with a body, and without one.
POST_EXAMPLES: Final = 8
GET_EXAMPLES: Final = 2
#: What the server's own fault looks like: nothing that a client sends may lead to it.
FAULTS: Final = (500, 502)
CHECKS: Final = (
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
MOST: Final = 1e6  # of numbers: half of it, or twice, is still finite
#: Upstream's words for outputs that JSON has none for. Numbers beyond what the document allows can lead there.
INFINITE: Final = re.compile(rb"[\[,:]-?(Infinity|NaN)")


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    both = "model_version_policy { all {} }"
    label = 'version_labels { key: "stable" value: 1 } version_labels { key: "né w/" value: 2 }'
    config = ModelConfigFile(tmp_path_factory.mktemp("config") / "models.config").write(
        entry("half plus/two", models / "half_plus_two", f"{both} {label}"),
        entry("text", models / "text"),
        entry("two_inputs", models / "two_inputs"),
        entry("scalar", models / "scalar"),
        entry("identity", models / "identity"),
        entry("default", DATA / "saved_model_half_plus_two_cpu"),
    )
    with RunningServer(config, "--allow_version_labels_for_unavailable_models") as running:
        yield running


@pytest.fixture(scope="module")
def document(server: RunningServer) -> Any:
    answer = server.get("/v1/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(array: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, x=array)
    return file.getvalue()


def register_binary_bodies() -> None:
    """What to send as the kinds of body that are no JSON: right ones, cut ones and nonsense."""
    arrays = st.builds(
        np.ones,
        st.sampled_from([(1,), (3,), (2, 2), (0,), ()]),
        st.sampled_from(["float32", "float64", "int32", "bool", "S3"]),
    )
    numbers = st.lists(st.floats(-MOST, MOST, width=32), max_size=4).map(lambda values: np.array(values, "<f4").tobytes())
    maps = st.dictionaries(st.sampled_from(["inputs", "signature", "x", "id"]), st.none() | st.text() | st.integers(0, 9))
    for kind, right in {
        "application/x-npy": arrays.map(npy),
        "application/x-npz": arrays.map(npz),
        "application/octet-stream": numbers,
        "application/x-msgpack": maps.map(msgpack.packb),
        "application/x-protobuf": st.just(b""),
    }.items():
        cut = st.builds(lambda body, end: body[: len(body) * end // 9], right, st.integers(0, 8))
        schemathesis.openapi.media_type(kind, right | cut | st.binary(max_size=64))


def tamed(document: Any) -> Any:
    """Numbers so small that no answer is infinite, for which JSON has no word."""
    if isinstance(document, list):
        return [tamed(part) for part in document]
    if not isinstance(document, dict):
        return document
    tame = {key: tamed(value) for key, value in document.items()}
    if document.get("format") in ("float", "double"):
        tame |= {"minimum": -MOST, "maximum": MOST}
    return tame


def test_the_document_is_valid(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_the_document_lists_what_is_served(document: Any) -> None:
    model = "/v1/models/half%20plus%2Ftwo"
    for path in (
        "",
        "/versions/{version}",
        "/metadata",
        ":predict",
        "/versions/{version}:predict",
        "/labels/{label}:predict",
    ):
        assert model + path in document["paths"]
    for verb in ("predict", "classify", "regress"):
        assert f"/v1/models/default:{verb}" in document["paths"]
    assert f"{model}:classify" not in document["paths"]


def statuses_of(operation: Any, mode: GenerationMode) -> set[int]:
    """Ask this operation a few times; the statuses that there were. Fails where an answer is not as documented."""
    statuses: set[int] = set()

    @hypothesis.settings(
        max_examples=POST_EXAMPLES if operation.method == "post" else GET_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        response = case.call()
        statuses.add(response.status_code)
        assert response.status_code not in FAULTS, (case.as_curl_command(), response.text)
        if re.search(r"/versions/[0-9]{19,}[/:]?", case.formatted_path) and response.status_code == 400:
            assert response.content == b""  # upstream's answer to a version that does not fit 64 bits
        elif not (response.status_code == 200 and INFINITE.search(response.content)):
            case.validate_response(response, checks=list(CHECKS))

    check()
    return statuses


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_answers_are_as_documented(server: RunningServer, document: Any, mode: GenerationMode) -> None:
    """Requests that fit the document (positive), and others (negative)."""
    register_binary_bodies()
    schema: Any = schemathesis.openapi.from_dict(tamed(document))
    schema.config.update(base_url=f"http://127.0.0.1:{server.port}")
    operations = [found.ok() for found in schema.get_all_operations()]
    if mode is GenerationMode.NEGATIVE:  # where there is something to do wrong
        operations = [operation for operation in operations if operation.path_parameters or operation.body]
    statuses = {operation.label: statuses_of(operation, mode) for operation in operations}
    if mode is GenerationMode.POSITIVE:
        # Which features a tf.Example needs, no document says.
        assert [label for label, seen in statuses.items() if 200 not in seen and "/default" not in label] == [], statuses
    else:
        assert any(400 in seen for seen in statuses.values()), statuses


class Options(HTMLParser):
    """What the page's form can ask, with the bodies that it begins with."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "option":
            attributes = dict(attrs)
            self.found.append((attributes["value"] or "", attributes["data-body"] or ""))


def test_what_the_page_s_form_sends_is_answered(server: RunningServer) -> None:
    """As it stands there, without a change; only serialised tf.Examples can't be made up."""
    answer = server.get("/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    options = Options()
    options.feed(answer.body.decode())
    assert len(options.found) > 20
    for path, body in options.found:
        if "/default" in path and '[""]' in body:
            continue
        asked = server.ask("POST", f"/{path}", body)
        # Which feature a tf.Example needs is a guess: one of this model's signatures wants another.
        assert asked.status == (400 if "regress_x2_to_y3" in body and "examples" in body else 200), (path, body, asked)


def test_probes(server: RunningServer) -> None:
    for path in ("/livez", "/healthz", "/readyz", "/readyz/text", "/readyz/half%20plus%2Ftwo"):
        answer = server.get(path)
        assert (answer.status, answer.json["status"]) == (200, "ok")
        assert server.ask("HEAD", path)[::2] == (200, b"")
    assert server.get("/readyz/nope").status == 404
