"""What a request line asks for: names, versions, labels, the case of letters, and all that is malformed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.catalog import ModelSpec
from frontend.rest.target import Target, VersionError, is_ours, parse_target
from ringserve.errors import Code, ServingError

INT64_MAX = (1 << 63) - 1


def refusal(method: str, path: str) -> str:
    with pytest.raises(ServingError) as caught:
        parse_target(method, path)
    assert not isinstance(caught.value, VersionError)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def get(path: str) -> Target | None:
    return parse_target("GET", path)


def name_of(path: str) -> str:
    target = get(path)
    assert target is not None
    return target.spec.name


@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
@pytest.mark.parametrize(
    ("middle", "spec"),
    [
        ("m", ModelSpec("m")),
        ("m/versions/7", ModelSpec("m", version=7)),
        ("m/labels/stable", ModelSpec("m", label="stable")),
        ("versions", ModelSpec("versions")),
        ("labels", ModelSpec("labels")),
        ("metadata", ModelSpec("metadata")),
        ("versions/versions/1", ModelSpec("versions", version=1)),
        ("labels/labels/labels", ModelSpec("labels", label="labels")),
    ],
)
def test_inference(verb: str, middle: str, spec: ModelSpec) -> None:
    assert parse_target("POST", f"/v1/models/{middle}:{verb}") == (verb, spec)


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        ("m", ModelSpec("m")),
        ("m/versions/123", ModelSpec("m", version=123)),
        ("m/labels/stable", ModelSpec("m", label="stable")),
        ("m/labels/not-a-word!", ModelSpec("m", label="not-a-word!")),
    ],
)
def test_status_and_metadata(path: str, spec: ModelSpec) -> None:
    assert get(f"/v1/models/{path}") == ("status", spec)
    assert get(f"/v1/models/{path}/metadata") == ("metadata", spec)


def test_names_are_any_characters_but_two() -> None:
    for name in ("a.b-c_d~e", "modèle", "m;x=1,2", "a b", "@!$&'()*+,;=", "[x]", "-1"):
        assert get(f"/v1/models/{name}") == ("status", ModelSpec(name))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a%2Fb%3Ac", "a/b:c"),  # the only way to have these in a name
        ("a%2fb", "a/b"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("m%C3%A9", "mé"),
        ("100%", "100%"),  # no escape: left as it is
        ("a%2", "a%2"),
        ("a%zz%41", "a%zzA"),
        ("%%41", "%A"),
        ("%2541", "%41"),  # decoded once
        ("a%FFb", "a\ufffdb"),  # names are text
        ("é%41", "éA"),
        ("\udcff%41", "\ufffdA"),  # a byte that is no UTF-8, as the HTTP parser hands it on
    ],
)
def test_percent_decoding(written: str, name: str) -> None:
    assert name_of(f"/v1/models/{written}") == name
    assert name_of(f"/v1/models/{written}/versions/1/metadata") == name
    assert get(f"/v1/models/m/labels/{written}") == ("status", ModelSpec("m", label=name))
    assert parse_target("POST", f"/v1/models/{written}:predict") == ("predict", ModelSpec(name))


@pytest.mark.parametrize(
    ("digits", "version"),
    [
        ("0", 0),
        ("1", 1),
        ("0000000000000000000000000000000000000000000000000000000000000001", 1),
        ("0" * 5000, 0),
        ("0" * 5000 + "42", 42),
        (str(INT64_MAX), INT64_MAX),
        ("00" + str(INT64_MAX), INT64_MAX),
    ],
)
def test_versions(digits: str, version: int) -> None:
    assert get(f"/v1/models/m/versions/{digits}") == ("status", ModelSpec("m", version=version))
    assert parse_target("POST", f"/v1/models/m/versions/{digits}:predict") == ("predict", ModelSpec("m", version=version))


@pytest.mark.parametrize("digits", [str(INT64_MAX + 1), "9" * 20, "0" * 50 + "9" * 19, "1" + "0" * 6000])
def test_versions_beyond_64_bits(digits: str) -> None:
    for method, path in (("GET", f"/v1/models/m/versions/{digits}"), ("POST", f"/v1/models/m/versions/{digits}:predict")):
        with pytest.raises(VersionError) as caught:
            parse_target(method, path)
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message == f"Failed to convert version: {digits} to numeric."


@pytest.mark.parametrize("version", ["", "-1", "+1", "1.0", "1e3", "abc", "0x1", "1 ", "٣", "%31"])
def test_versions_are_ascii_digits(version: str) -> None:
    path = f"/v1/models/m/versions/{version}"
    assert refusal("GET", path) == f"Malformed request: GET {path}"
    assert refusal("POST", f"{path}:predict") == f"Malformed request: POST {path}:predict"


@pytest.mark.parametrize("path", ["", "/versions/3", "/labels/x", "/versions/3/metadata", "/labels/x/metadata"])
def test_name_missing(path: str) -> None:
    assert refusal("GET", f"/v1/models{path}") == "Missing model name in request."


def test_models_may_be_named_like_the_routes() -> None:
    assert get("/v1/models/metadata") == ("status", ModelSpec("metadata"))
    assert get("/v1/models/metadata/metadata") == ("metadata", ModelSpec("metadata"))
    assert get("/v1/models/versions/versions/3") == ("status", ModelSpec("versions", version=3))
    assert get("/v1/models/versions/metadata") == ("metadata", ModelSpec("versions"))


def test_case_of_letters() -> None:
    """The literals match in any case; the verb and "metadata" are then compared exactly."""
    assert parse_target("POST", "/V1/Models/M/VERSIONS/2:predict") == ("predict", ModelSpec("M", version=2))
    assert get("/V1/MODELS/M/Labels/L") == ("status", ModelSpec("M", label="L"))
    assert get("/V1/MODELS/m/metadata") == ("metadata", ModelSpec("m"))
    assert get("/V1/MODELS/m/METADATA") == ("status", ModelSpec("m"))
    for verb in ("PREDICT", "Predict", "Classify", "REGRESS"):
        path = f"/v1/models/m:{verb}"
        assert refusal("POST", path) == f"Malformed request: POST {path}"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/",
        "/v1/model/m",
        "/v1/modelsm",
        "/v1/models/",
        "/v1/models/m/",
        "/v1/models//m",
        "/v1/models/m//metadata",
        "/v1/models/m/versions/1/labels/x",
        "/v1/models/m/labels/x/versions/1",
        "/v1/models/m/labels/",
        "/v1/models/m/labels/a:b",
        "/v1/models/m/metadata/",
        "/v1/models/m/metadata?x=1",
        "/v1/models/m/ready",
        "/v1/models/m:predict",
        "/v1/models/m:",
        "/v1/models:predict",
    ],
)
def test_malformed_get(path: str) -> None:
    assert refusal("GET", path) == f"Malformed request: GET {path}"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/models/m",
        "/v1/models/m/metadata",
        "/v1/models/m:",
        "/v1/models/:predict",
        "/v1/models:predict",
        "/v1/models/m:predict/",
        "/v1/models/m:predict?x=1",
        "/v1/models/m:predict#x",
        "/v1/models/m:predict ",
        "/v1/models/m:predict:predict",
        "/v1/models/m:explain",
        "/v1/models/m/versions/1/labels/x:predict",
        "/v1/models/m/labels/x/versions/1:predict",
        "/v1/models/m/n:predict",
    ],
)
def test_malformed_post(path: str) -> None:
    assert refusal("POST", path) == f"Malformed request: POST {path}"


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/models/m", "/v1/models/m:predict", "/v1/models/m/metadata", "/v1/models"])
def test_other_verbs(method: str, path: str) -> None:
    assert refusal(method, path) == f"Malformed request: {method} {path}"


def test_a_query_is_part_of_the_path() -> None:
    assert get("/v1/models/m?x=1") == ("status", ModelSpec("m?x=1"))
    assert get("/v1/models/m/labels/l?x=1") == ("status", ModelSpec("m", label="l?x=1"))
    assert refusal("GET", "/v1/models/m/versions/1?x=1").startswith("Malformed request")
    assert refusal("GET", "/v1/models?x=1") == "Malformed request: GET /v1/models?x=1"


def test_what_is_ours() -> None:
    for path in ("/v1/", "/v1/x", "/V1/models", "/v1//", "/v1/models/m?x=1"):
        assert is_ours(path)
    for path in ("/v1", "", "v1/models/m", "/v2/models/m", "//v1/models", "/monitoring/prometheus/metrics"):
        assert not is_ours(path)
        assert parse_target("GET", path) is None
        assert parse_target("POST", path) is None


OURS = {
    "/": "index",
    "/metrics": "metrics",
    "/healthz": "health",
    "/livez": "health",
    "/readyz": "health",
    "/readyz/m": "health",
    "/v1/openapi.json": "openapi",
}


@pytest.mark.parametrize("path", OURS)
@pytest.mark.parametrize("query", ["", "?", "?x=1"])
def test_paths_of_our_own(path: str, query: str) -> None:
    for method in ("GET", "HEAD"):
        target = parse_target(method, path + query)
        assert target == (OURS[path], ModelSpec(""))
    for method in ("POST", "PUT"):
        if is_ours(path):
            assert refusal(method, path) == f"Malformed request: {method} {path}"
        else:
            assert parse_target(method, path) is None
    for other in (path.upper(), f"/{path}", f"{path}#"):
        if other != path and not is_ours(other) and not other.startswith("/readyz/"):
            assert get(other) is None


@settings(deadline=None)
@given(st.sampled_from(["GET", "POST", "PUT"]), st.text(max_size=40))
def test_any_path_has_an_answer(method: str, rest: str) -> None:
    try:
        target = parse_target(method, "/v1/models/" + rest)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
    else:
        assert target is not None
        assert target.spec.name


@settings(deadline=None)
@given(st.text(min_size=1), st.integers(0, INT64_MAX))
def test_percent_encoded_names_come_back(name: str, version: int) -> None:
    written = "".join(f"%{byte:02X}" for byte in name.encode("utf-8", "replace"))
    target = parse_target("POST", f"/v1/models/{written}/versions/{version}:predict")
    assert target == ("predict", ModelSpec(name.encode("utf-8", "replace").decode(), version=version))
