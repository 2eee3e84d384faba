"""Headers, there and back, and the ways in which HTTP carries a request."""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backports import zstd

from end_to_end.conftest import write_config
from end_to_end.http_answer import Answer
from end_to_end.raw_connection import RawConnection, chunked, post
from end_to_end.running_server import RunningServer

PREDICT = "/v1/models/half_plus_two:predict"
QUESTION, ANSWER = b'{"instances": [2.0, 4.0]}', {"predictions": [4.0, 5.0]}
LARGE = {"instances": [float(number) for number in range(5000)]}
LARGE_ANSWER = {"predictions": [number / 2 + 3 for number in range(5000)]}
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}


@pytest.fixture(scope="module")
def hurried(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """With CORS, and less time for a request than its slow model takes."""
    served = {name: models / name for name in ("half_plus_two", "slow")}
    config = write_config(tmp_path_factory.mktemp("headers") / "models.config", served)
    with RunningServer(config, "--rest_api_enable_cors_support", "--rest_api_timeout_in_ms=100") as server:
        yield server


def in_one_piece(request: bytes) -> list[bytes]:
    return [request]


def byte_by_byte(request: bytes) -> list[bytes]:
    return [request[at : at + 1] for at in range(len(request))]


ASKED = [
    ("POST", PREDICT, QUESTION, 200),
    ("POST", PREDICT, b"{", 400),
    ("POST", "/v1/models/nope:predict", QUESTION, 404),
    ("POST", "/v1/models/half_plus_two/versions/99999999999999999999:predict", QUESTION, 400),
    ("GET", "/v1/models/half_plus_two", b"", 200),
    ("GET", "/v1/models/half_plus_two/metadata", b"", 200),
    ("GET", "/v1/nothing", b"", 400),
    ("OPTIONS", PREDICT, b"", 400),
    ("DELETE", PREDICT, b"", 400),
]


@pytest.mark.parametrize(("verb", "path", "body", "status"), ASKED)
def test_a_request_has_its_name_back(catalogue: RunningServer, verb: str, path: str, body: bytes, status: int) -> None:
    answer = catalogue.ask(verb, path, body, {"X-Request-Id": "a b;é-1".encode().decode("latin-1")})
    assert (answer.status, answer.headers["x-request-id"]) == (status, "a b;é-1".encode().decode("latin-1"))
    assert "x-request-id" not in catalogue.ask(verb, path, body).headers
    assert "x-request-id" not in catalogue.ask(verb, path, body, {"X-Request-Id": "a" * 257}).headers


def test_how_long_each_stage_took(catalogue: RunningServer) -> None:
    asked: list[tuple[str, dict[str, object]]] = [
        ("default:predict", {"instances": [2.0]}),
        ("default:predict", {"inputs": [2.0]}),
        ("default:classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}),
        ("default:regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}),
    ]
    for path, body in asked:
        timing = catalogue.ask("POST", f"/v1/models/{path}", body).headers["server-timing"]
        number = r"dur=(\d+\.\d+)"
        match = re.fullmatch(rf"decode;{number}, queue;{number}, run;{number}, encode;{number}", timing)
        assert match, timing
        assert sum(map(float, match.groups())) < 30_000
        assert float(match[3]) > 0, "the run"
    for verb, path, question, status in ASKED:
        if status != 200:
            assert "server-timing" not in catalogue.ask(verb, path, question).headers


@pytest.mark.parametrize(("verb", "path", "body", "status"), ASKED)
def test_cors_on_every_answer_of_the_api(
    hurried: RunningServer, catalogue: RunningServer, verb: str, path: str, body: bytes, status: int
) -> None:
    answer = hurried.ask(verb, path, body, {"Origin": "localhost"})
    assert answer.status == status
    assert {name: answer.headers.get(name) for name in CORS} == CORS
    assert not CORS.keys() & catalogue.ask(verb, path, body, {"Origin": "localhost"}).headers.keys()


@pytest.mark.parametrize("origin", ["http://a.example", "https://a.example:8080", "chrome-extension+http://x"])
def test_a_browser_may_ask(hurried: RunningServer, catalogue: RunningServer, origin: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "X-Request-Id": "7"}
    for path in (PREDICT, "/v1/anything/else"):
        answer = hurried.ask("OPTIONS", path, headers=headers)
        assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, b"", "7")
        assert answer.headers["content-type"] == "text/html; charset=ISO-8859-1"
        assert {name: answer.headers.get(name) for name in CORS} == CORS
    without = catalogue.ask("OPTIONS", PREDICT, headers=headers)
    assert (without.status, CORS.keys() & without.headers.keys()) == (200, set())


def test_time_that_is_up(hurried: RunningServer) -> None:
    answer = hurried.predict("slow", {"instances": [1.0]})
    assert (answer.status, answer.error) == (504, "Timed out waiting for notification")
    assert {name: answer.headers.get(name) for name in CORS} == CORS
    assert hurried.predict("half_plus_two", QUESTION).json == ANSWER


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/half_plus_two", "/nowhere", "/livez", "/readyz", "/"])
def test_head_is_answered_without_a_body(catalogue: RunningServer, path: str) -> None:
    """The connection goes on behind it."""
    status = 404 if path == "/nowhere" else 400 if path.startswith("/v1/") else 200
    with RawConnection(catalogue.port) as connection:
        for _ in range(2):
            connection.send(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = connection.answer("HEAD")
            assert (answer.status, answer.body) == (status, b"")
            if status == 404:
                return
        connection.send(post(PREDICT, QUESTION))
        assert connection.answer().json == ANSWER


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [*[asked[:3] for asked in ASKED], ("GET", "/", b""), ("GET", "/nope", b""), ("GET", "/metrics", b"")],
)
def test_who_serves_is_not_said(catalogue: RunningServer, verb: str, path: str, body: bytes) -> None:
    answer = catalogue.ask(verb, path, body)
    assert "server" not in answer.headers
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
    assert int(answer.headers["content-length"]) == len(answer.body)


def opened(answer: Answer) -> bytes:
    coding = answer.headers.get("content-encoding")
    if coding is None:
        return answer.body
    assert answer.headers["vary"].lower() == "accept-encoding"
    return gzip.decompress(answer.body) if coding == "gzip" else bytes(zstd.decompress(answer.body))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("GZIP", "gzip"),
        ("*", "gzip"),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
        ("", None),
    ],
)
def test_answers_are_compressed_for_who_accepts_it(catalogue: RunningServer, accepted: str, coding: str | None) -> None:
    headers = {"Accept-Encoding": accepted, "X-Request-Id": "7"}
    whole = catalogue.ask("POST", PREDICT, LARGE, headers)
    with RawConnection(catalogue.port) as connection:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        connection.send(
            chunked(PREDICT, json.dumps(LARGE).encode()).replace(b"\r\n", "\r\n".join(["", *lines, ""]).encode(), 1)
        )
        in_chunks = connection.answer()
    for answer in (whole, in_chunks):
        assert (answer.status, answer.headers.get("content-encoding"), answer.headers["x-request-id"]) == (200, coding, "7")
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(opened(answer)) == LARGE_ANSWER
        assert len(answer.body) < 20_000 or coding is None
    small = catalogue.ask("POST", PREDICT, QUESTION, headers)
    assert ("content-encoding" in small.headers, small.json) == (False, ANSWER)


def test_other_answers_are_compressed_too(catalogue: RunningServer) -> None:
    for path in ("/v1/models/default/metadata", "/v1/openapi.json", "/metrics", "/"):
        plain = catalogue.get(path)
        packed = catalogue.ask("GET", path, headers={"Accept-Encoding": "gzip"})
        assert (packed.status, packed.headers["content-encoding"]) == (200, "gzip")
        assert packed.headers["content-type"] == plain.headers["content-type"]
        if path != "/metrics":
            assert opened(packed) == plain.body


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("zstd", zstd.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
def test_requests_that_are_compressed(catalogue: RunningServer, coding: str, compress: Callable[[bytes], bytes]) -> None:
    body = compress(QUESTION)
    answer = catalogue.ask("POST", PREDICT, body, {"Content-Encoding": coding})
    assert (answer.status, answer.json) == (200, ANSWER), answer
    request = b"\r\n".join(
        [
            f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Encoding: {coding}\r\n".encode(),
            *[b"1\r\n%c" % byte for byte in body],
            b"0\r\n\r\n",
        ]
    )
    with RawConnection(catalogue.port) as connection:
        connection.send(request)
        assert connection.answer().json == ANSWER


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "identity, gzip"])
def test_gzip_by_any_name(catalogue: RunningServer, coding: str) -> None:
    """Upstream looks for the word wherever it stands, and takes a body that is none for an empty one."""
    headers = {"Content-Encoding": coding}
    answer = catalogue.ask("POST", PREDICT, gzip.compress(QUESTION), headers)
    assert (answer.status, answer.json) == (200, ANSWER)
    for body in (QUESTION, gzip.compress(QUESTION) + b"more"):
        answer = catalogue.ask("POST", PREDICT, body, headers)
        assert (answer.status, answer.error) == (400, "JSON Parse error: The document is empty")


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress), ("deflate", zlib.compress)]
)
@pytest.mark.parametrize("cut", [9, 3000])
def test_a_compressed_body_that_ends_too_soon(
    catalogue: RunningServer, coding: str, compress: Callable[[bytes], bytes], cut: int
) -> None:
    """Half a picture is none; what is left of it must not be taken for all."""
    picture = random.Random(0).randbytes(10_000)
    headers = {
        "Content-Type": "application/octet-stream",
        "X-Ringserve-Dtype": "string",
        "Content-Encoding": coding,
        "Accept": "application/json",
        "X-Ringserve-Outputs": "length",
    }
    path = "/v1/models/text:predict"
    whole = catalogue.ask("POST", path, compress(picture), headers)
    assert (whole.status, whole.json["outputs"]) == (200, [10_000])
    answer = catalogue.ask("POST", path, compress(picture)[:-cut], headers)
    assert (answer.status, bool(answer.error)) == (400, True), answer


@pytest.mark.parametrize("coding", ["br", "GZIPPED", "none", "compress"])
def test_codings_that_are_unknown_mean_nothing(catalogue: RunningServer, coding: str) -> None:
    answer = catalogue.ask("POST", PREDICT, QUESTION, {"Content-Encoding": coding})
    assert (answer.status, answer.json) == (200, ANSWER)


@pytest.mark.parametrize("verb", ["TRACE", "CONNECT", "get", "post", "NONSENSE", "PROPFIND", "X"])
def test_verbs_that_are_none(catalogue: RunningServer, verb: str) -> None:
    with RawConnection(catalogue.port) as connection:
        connection.send(f"{verb} /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        stream = connection.rest()
    head, _, body = stream.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
    assert b"Content-Type: text/html\r\n" in head
    assert b"Connection: close" in head
    assert (
        body
        == b"<HTML><HEAD>\n<TITLE>501 Not Implemented</TITLE>\n</HEAD><BODY>\n<H1>Not Implemented</H1>\n</BODY></HTML>\n"
    )


def test_targets_with_scheme_and_host(catalogue: RunningServer) -> None:
    """As proxies are asked; every server has to understand them."""
    with RawConnection(catalogue.port) as connection:
        connection.send(post(f"http://a.example:80{PREDICT}", QUESTION))
        assert connection.answer().json == ANSWER
        connection.send(b"GET http://a.example/v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.answer("GET").status == 200


@pytest.mark.parametrize("split", [in_one_piece, byte_by_byte])
def test_requests_of_all_kinds_on_one_connection(catalogue: RunningServer, split: Callable[[bytes], list[bytes]]) -> None:
    """Sent ahead, and answered in order: short ones, chunked ones, other paths, errors, a HEAD."""
    named = [f"X-Request-Id: {number}" for number in range(7)]
    gets = [f"{verb} {path} HTTP/1.1\r\nHost: a\r\n" for verb, path in (("GET", "/v1/models/default"), ("HEAD", "/livez"))]
    requests = [
        post(PREDICT, QUESTION, named[0]),
        chunked(PREDICT, QUESTION[:3], QUESTION[3:]).replace(b"\r\n", f"\r\n{named[1]}\r\n".encode(), 1),
        f"{gets[0]}{named[2]}\r\n\r\n".encode(),
        post(PREDICT, b"{", named[3]),
        f"{gets[1]}{named[4]}\r\n\r\n".encode(),
        post("/v1/models/nope:predict", QUESTION, named[5]),
        post(PREDICT, QUESTION, named[6], "Connection: close"),
    ]
    with RawConnection(catalogue.port) as connection:
        for piece in split(b"".join(requests)):
            connection.send(piece)
        stream = connection.rest().decode()
    heads = re.findall(r"HTTP/1\.1 (\d+) .*?(?=\r\n\r\n)", stream, re.DOTALL)
    assert heads == ["200", "200", "200", "400", "200", "404", "200"]
    assert re.findall(r"X-Request-Id: (\d)", stream) == [str(number) for number in range(7)]


@pytest.mark.parametrize("count", [30, 64, 100, 1000])
def test_many_requests_in_one_packet(catalogue: RunningServer, count: int) -> None:
    """More than are taken at once: nobody's answer gets lost or changes its place."""
    requests = [post(PREDICT, b'{"instances": [%d]}' % number) for number in range(count - 1)]
    requests.append(post(PREDICT, b'{"instances": [%d]}' % (count - 1), "Connection: close"))
    with RawConnection(catalogue.port) as connection:
        connection.send(b"".join(requests))
        stream = connection.rest()
    answers = re.findall(rb'\{"predictions":\[([0-9.]+)\]\}', stream)
    assert [float(answer) for answer in answers] == [number / 2 + 3 for number in range(count)]


@pytest.mark.parametrize(("header", "keeps"), [("Connection: keep-alive", True), ("Accept: */*", False)])
def test_http_1_0(catalogue: RunningServer, header: str, keeps: bool) -> None:
    """The connection goes on only where the client asks for that."""
    request = post(PREDICT, QUESTION, header).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with RawConnection(catalogue.port) as connection:
        for _ in range(2 if keeps else 1):
            connection.send(request)
            answer = connection.answer()
            assert (answer.status, answer.json) == (200, ANSWER)
            assert (answer.headers.get("connection", "").lower() == "keep-alive") == keeps
        if not keeps:
            assert connection.rest() == b""


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/nope:predict"])
def test_expect_100_continue(catalogue: RunningServer, path: str) -> None:
    """For a body that is sent, and for one in chunks; and the next request is answered as if nothing had been."""
    for request in (post(path, QUESTION, "Expect: 100-continue"), chunked(path, QUESTION)):
        with RawConnection(catalogue.port) as connection:
            head, _, body = request.partition(b"\r\n\r\n")
            if b"chunked" in head:
                head += b"\r\nExpect: 100-continue"
            connection.send(head + b"\r\n\r\n")
            assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(body)
            assert connection.answer().status == (200 if path == PREDICT else 404)
            connection.send(post(PREDICT, QUESTION))
            assert connection.answer().json == ANSWER
