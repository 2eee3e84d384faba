"""What the REST paths lead to: status, metadata, and upstream's texts for what is not there."""

from __future__ import annotations

from typing import Any

import pytest

from end_to_end.running_server import RunningServer

BODY = {"instances": [1.0]}


def available(*versions: int) -> dict[str, Any]:
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [{"version": str(version), "state": "AVAILABLE", "status": status} for version in versions]
    }


@pytest.mark.parametrize(
    ("path", "versions"),
    [
        ("/v1/models/default", (123,)),
        ("/v1/models/default/versions/123", (123,)),
        ("/v1/models/two_versions", (124, 123)),
        ("/v1/models/two_versions/versions/123", (123,)),
        ("/v1/models/two_versions/versions/000124", (124,)),
        ("/v1/models/two_versions/labels/whatever", (124, 123)),
        ("/V1/MODELS/default", (123,)),
        ("/v1/models/default/METADATA", (123,)),
        ("/v1/models/%64efault", (123,)),
    ],
)
def test_status(catalogue: RunningServer, path: str, versions: tuple[int, ...]) -> None:
    answer = catalogue.get(path)
    assert (answer.status, answer.json) == (200, available(*versions))
    assert answer.headers["content-type"] == "application/json"


def test_metadata(catalogue: RunningServer) -> None:
    answer = catalogue.get("/v1/models/default/metadata")
    assert answer.status == 200
    assert answer.json["model_spec"] == {"name": "default", "signature_name": "", "version": "123"}
    signatures = answer.json["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {
        "serving_default",
        "regress_x_to_y",
        "regress_x_to_y2",
        "regress_x2_to_y3",
        "classify_x_to_y",
    }
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    assert signatures["serving_default"] == {
        "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "x:0"}},
        "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "y:0"}},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    example = signatures["classify_x_to_y"]["inputs"]["inputs"]
    assert example["tensor_shape"] == {"dim": [], "unknown_rank": True}


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v1/models/two_versions/metadata", "124"),
        ("/v1/models/two_versions/versions/123/metadata", "123"),
        ("/v1/models/half_plus_two_tf2/metadata", "123"),
    ],
)
def test_metadata_of_the_version_asked_for(catalogue: RunningServer, path: str, version: str) -> None:
    document = catalogue.get(path).json
    assert document["model_spec"]["version"] == version
    assert "serving_default" in document["metadata"]["signature_def"]["signature_def"]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("/v1/models/default/versions/7", 404, "Could not find version 7 of model default"),
        ("/v1/models/default?x=1", 404, "Could not find any versions of model default?x=1"),
        ("/v1/models/nope/metadata", 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/default/versions/7/metadata", 404, "Servable not found for request: Specific(default, 7)"),
        ("/v1/models/default/labels/stable/metadata", 400, "Unrecognized servable version label: stable"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/versions/3", 400, "Missing model name in request."),
        ("/v1/", 400, "Malformed request: GET /v1/"),
        ("/v1/models/default/", 400, "Malformed request: GET /v1/models/default/"),
        ("/v1/models/default:predict", 400, "Malformed request: GET /v1/models/default:predict"),
        ("/v1/models/default/metadata?x=1", 400, "Malformed request: GET /v1/models/default/metadata?x=1"),
    ],
)
def test_questions_without_an_answer(catalogue: RunningServer, path: str, status: int, text: str) -> None:
    answer = catalogue.get(path)
    assert (answer.status, answer.error) == (status, text)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v1/models/nope:predict", 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/default/versions/7:predict", 404, "Servable not found for request: Specific(default, 7)"),
        ("/v1/models/default/labels/stable:predict", 400, "Unrecognized servable version label: stable"),
        ("/v1/models/default:PREDICT", 400, "Malformed request: POST /v1/models/default:PREDICT"),
        ("/v1/models/default:predict?x=1", 400, "Malformed request: POST /v1/models/default:predict?x=1"),
        ("/v1/models/default", 400, "Malformed request: POST /v1/models/default"),
        ("/v1/models:predict", 400, "Malformed request: POST /v1/models:predict"),
    ],
)
def test_predictions_that_nobody_makes(catalogue: RunningServer, path: str, status: int, text: str) -> None:
    answer = catalogue.ask("POST", path, BODY)
    assert (answer.status, answer.error) == (status, text)


def test_an_unknown_signature(catalogue: RunningServer) -> None:
    answer = catalogue.predict("default", {"signature_name": "nope", **BODY})
    text = 'Serving signature name: "nope" not found in signature def'
    assert (answer.status, answer.error) == (400, text)


@pytest.mark.parametrize("path", ["/v1/models/default/versions/9223372036854775808", f"/v1/models/m/versions/{'9' * 500}"])
def test_a_version_beyond_64_bits_is_answered_with_an_empty_body(catalogue: RunningServer, path: str) -> None:
    answer = catalogue.get(path)
    assert (answer.status, answer.body) == (400, b"")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("model", "body", "status"),
    [("nope", "{not json", 400), ("nope", '{"instances": "no list"}', 404), ("nope", '{"signature_name": 5}', 400)],
)
def test_the_body_is_parsed_before_the_model_is_looked_up_and_read_after(
    catalogue: RunningServer, model: str, body: str, status: int
) -> None:
    assert catalogue.predict(model, body).status == status


@pytest.mark.parametrize("path", ["/v1", "/v2/models/default", "/health", "/monitoring/prometheus/metrics"])
def test_other_paths_get_a_page(catalogue: RunningServer, path: str) -> None:
    answer = catalogue.get(path)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<H1>Not Found</H1>" in answer.body


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH"])
def test_other_verbs(catalogue: RunningServer, method: str) -> None:
    answer = catalogue.ask(method, "/v1/models/default:predict", BODY)
    assert answer.status == 400
    if method != "HEAD":
        assert answer.error == f"Malformed request: {method} /v1/models/default:predict"


@pytest.mark.parametrize(
    ("origin", "status"), [("http://a.example", 200), ("https://a.example", 200), ("a", 400), ("", 400)]
)
def test_preflight(catalogue: RunningServer, origin: str, status: int) -> None:
    answer = catalogue.ask("OPTIONS", "/v1/models/default:predict", headers={"Origin": origin} if origin else {})
    assert (answer.status, answer.body) == (status, b"")


def test_the_content_type_of_a_request_does_not_matter(catalogue: RunningServer) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = catalogue.ask("POST", "/v1/models/default:predict", {"instances": [2.0]}, headers)
    assert (answer.status, answer.json) == (200, {"predictions": [3.0]})
