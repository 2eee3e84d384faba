"""What TensorFlow Serving's own tests ask of its REST API, asked of a server with the flags that they give theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from end_to_end.conftest import DATA
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.raw_connection import RawConnection, post
from end_to_end.running_server import RunningServer

PAGE = "/monitoring/prometheus/metrics"
#: Every reserved character of a URL, blanks, and what is no ASCII.
NAME, LABEL = "half:plus/two ?#[]@!$&'()*+,;=%é", "né/w: ?%"
ALL = "model_version_policy { all {} }"
ROW = {"instances": [2.0]}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("contract")
    monitoring = folder / "monitoring.config"
    monitoring.write_text(f'prometheus_config {{ enable: true, path: "{PAGE}" }}\n')
    labels = "".join(
        f'version_labels {{ key: "{key}" value: {value} }}' for key, value in {"stable": 123, LABEL: 124}.items()
    )
    config = ModelConfigFile(folder / "models.config").write(
        entry("default", DATA / "saved_model_half_plus_two_cpu"),
        entry("half_plus_three", DATA / "saved_model_half_plus_three"),
        entry("half_plus_two_tf2", DATA / "saved_model_half_plus_two_tf2_cpu"),
        entry("two_versions", DATA / "saved_model_half_plus_two_2_versions", f"{ALL} {labels}"),
        entry(NAME, DATA / "saved_model_half_plus_two_cpu"),
    )
    flags = (
        config,
        f"--monitoring_config_file={monitoring}",
        "--rest_api_timeout_in_ms=5000",
        "--allow_version_labels_for_unavailable_models",
    )
    with RunningServer(*flags) as server:
        yield server


def post_json(server: RunningServer, path: str, body: Any) -> Any:
    """The document that it is answered with, of the type that every client expects."""
    answer = server.ask("POST", path, body)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer
    return answer.json


@pytest.mark.parametrize("model", ["default", "half_plus_two_tf2"])
def test_classify(upstream: RunningServer, model: str) -> None:
    """Method names are not checked: all those of the TF2 export say predict."""
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    assert post_json(upstream, f"/v1/models/{model}:classify", body) == {"results": [[["", 3.0]]]}


@pytest.mark.parametrize("model", ["default", "half_plus_two_tf2"])
def test_regress(upstream: RunningServer, model: str) -> None:
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}
    assert post_json(upstream, f"/v1/models/{model}:regress", body) == {"results": [3.0]}


def test_predict(upstream: RunningServer) -> None:
    assert post_json(upstream, "/v1/models/default:predict", {"instances": [2.0, 3.0, 4.0]}) == {
        "predictions": [3.0, 3.5, 4.0]
    }


def test_predict_columnar(upstream: RunningServer) -> None:
    assert post_json(upstream, "/v1/models/default:predict", {"inputs": [2.0, 3.0, 4.0]}) == {"outputs": [3.0, 3.5, 4.0]}


def test_two_models_of_a_config_file(upstream: RunningServer) -> None:
    assert post_json(upstream, "/v1/models/default:predict", ROW) == {"predictions": [3.0]}
    assert post_json(upstream, "/v1/models/half_plus_three:predict", ROW) == {"predictions": [4.0]}


def test_status(upstream: RunningServer) -> None:
    status = {"error_code": "OK", "error_message": ""}
    version = {"version": "123", "state": "AVAILABLE", "status": status}
    assert upstream.get("/v1/models/default").json == {"model_version_status": [version]}


def test_prometheus(upstream: RunningServer) -> None:
    answer = upstream.get(PAGE)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain")
    assert "# TYPE" in answer.body.decode()
    for verb in ("POST", "DELETE", "OPTIONS"):
        assert upstream.ask(verb, PAGE).status == 200, "upstream asks for no verb here"


def test_prometheus_refuses_a_query(upstream: RunningServer) -> None:
    answer = upstream.get(f"{PAGE}?name[]=a")
    text = f"Unexpected path: {PAGE}?name[]=a. Should be {PAGE}"
    assert (answer.status, answer.headers["content-type"], answer.body.decode()) == (400, "text/plain", text)


@pytest.mark.parametrize("path", [PAGE.upper(), f"{PAGE}/", "/monitoring/prometheus", "/monitoring"])
def test_prometheus_has_one_path_alone(upstream: RunningServer, path: str) -> None:
    assert (upstream.get(path).status, b"<H1>Not Found</H1>" in upstream.get(path).body) == (404, True)


@pytest.mark.parametrize("verb", ["classify", "regress", "predict"])
def test_an_unknown_model(upstream: RunningServer, verb: str) -> None:
    answer = upstream.ask("POST", f"/v1/models/nope:{verb}", {**ROW, "examples": [{"x": 2.0}]})
    assert (answer.status, answer.error) == (404, "Servable not found for request: Latest(nope)")


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/models/foo:predict"),
        ("GET", "/v1/models/foo/versions/50:predict"),
        ("POST", "/v1/models/foo/metadata"),
        ("POST", "/v1/models/foo:bar"),
        ("POST", "/v1/models/foo/bar:predict"),
        ("POST", "/v1/models/foo/versions:predict"),
        ("POST", "/v1/models/foo/versions/:predict"),
        ("POST", "/v1/models/foo/versions/1/labels/a:predict"),
        ("POST", "/v1/models/foo/versions/-1:predict"),
        ("POST", "/v1/models/foo/labels/:predict"),
        ("POST", "/v1/models//versions/1:predict"),
        ("POST", "/v1/models/foo:predict/"),
        ("POST", "/v1/models/foo:predict?a=b"),
        ("POST", "/v1/"),
        ("GET", "/v1/models/foo/bar"),
        ("GET", "/v1/models/foo/"),
        ("GET", "/v1/models//foo"),
        ("GET", "/v1/models/foo/versions/1/labels/a"),
        ("GET", "/v1/models/foo/metadata/"),
        ("PUT", "/v1/models/foo"),
        ("DELETE", "/v1/models/foo"),
        ("PATCH", "/v1/models/foo:predict"),
    ],
)
def test_malformed_requests(upstream: RunningServer, verb: str, path: str) -> None:
    answer = upstream.ask(verb, path, ROW)
    assert (answer.status, answer.error) == (400, f"Malformed request: {verb} {path}")


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/versions/3", "/v1/models/labels/a", "/v1/models/versions/3/metadata"]
)
def test_no_model_named(upstream: RunningServer, path: str) -> None:
    assert upstream.get(path).error == "Missing model name in request."


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/models/default/versions/9223372036854775808"),
        ("GET", f"/v1/models/default/versions/{'9' * 60}/metadata"),
        ("POST", "/v1/models/default/versions/99999999999999999999:predict"),
        ("POST", "/v1/models/default/versions/99999999999999999999:classify"),
    ],
)
def test_a_version_that_is_no_number_of_64_bits(upstream: RunningServer, verb: str, path: str) -> None:
    answer = upstream.ask(verb, path, ROW)
    assert (answer.status, answer.body) == (400, b"")
    assert (answer.headers["content-type"], answer.headers["content-length"]) == ("application/json", "0")


@pytest.mark.parametrize(("path", "expected"), [("", 3.0), ("/versions/123", 3.0), ("/versions/0124", 3.0)])
def test_versions_in_the_path(upstream: RunningServer, path: str, expected: float) -> None:
    assert post_json(upstream, f"/v1/models/two_versions{path}:predict", ROW) == {"predictions": [expected]}


@pytest.mark.parametrize(("label", "version"), [("stable", "123"), (quote(LABEL, safe=""), "124")])
def test_labels_in_the_path(upstream: RunningServer, label: str, version: str) -> None:
    path = f"/v1/models/two_versions/labels/{label}"
    assert post_json(upstream, f"{path}:predict", ROW) == {"predictions": [3.0]}
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}
    assert post_json(upstream, f"{path}:regress", body) == {"results": [3.0]}
    assert upstream.get(f"{path}/metadata").json["model_spec"]["version"] == version


@pytest.mark.parametrize("verb", ["classify", "regress", "predict"])
@pytest.mark.parametrize("model", ["two_versions", "nope"])
def test_an_unknown_label(upstream: RunningServer, model: str, verb: str) -> None:
    """A bad argument, also of a model that is not there."""
    answer = upstream.ask("POST", f"/v1/models/{model}/labels/no%2Fpe:{verb}", {**ROW, "examples": [{"x": 2.0}]})
    assert (answer.status, answer.error) == (400, "Unrecognized servable version label: no/pe")


def test_reserved_characters_in_names(upstream: RunningServer) -> None:
    name = quote(NAME, safe="")
    assert post_json(upstream, f"/v1/models/{name}:predict", ROW) == {"predictions": [3.0]}
    assert upstream.states(name) == {123: "AVAILABLE"}
    assert upstream.get(f"/v1/models/{name}/versions/123/metadata").json["model_spec"]["name"] == NAME


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("a%2", "a%2"),
        ("a%zz", "a%zz"),
        ("%2525", "%25"),
        ("a?b#c", "a?b#c"),
    ],
)
def test_how_names_are_decoded(upstream: RunningServer, path: str, name: str) -> None:
    with RawConnection(upstream.port) as connection:
        connection.send(f"GET /v1/models/{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = connection.answer("GET")
    assert (answer.status, answer.error) == (404, f"Could not find any versions of model {name}")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/default:predict", 200),
        ("/v1/models/nope:predict", 404),
        ("/v1/nothing", 400),
        ("/v1/models/default", 400),
    ],
)
def test_one_content_type(upstream: RunningServer, path: str, status: int) -> None:
    with RawConnection(upstream.port) as connection:
        connection.send(post(path, b'{"instances": [2.0]}', "Connection: close"))
        head = connection.rest().partition(b"\r\n\r\n")[0].decode()
    lines = head.split("\r\n")
    assert lines[0].split()[1] == str(status)
    types = [line for line in lines if line.lower().startswith("content-type:")]
    assert types == ["Content-Type: application/json"]
    names = {line.partition(":")[0].lower() for line in lines[1:]}
    assert {"date", "content-length"} <= names
    assert "server" not in names


def test_the_context_gives_way_to_an_example(upstream: RunningServer) -> None:
    body = {"signature_name": "regress_x_to_y", "context": {"x": 10.0}, "examples": [{}, {"x": 2.0}, {"other": "a"}]}
    assert post_json(upstream, "/v1/models/default:regress", body) == {"results": [7.0, 3.0, 7.0]}
