"""Images as bodies, the generator that sends them, and what answers it in the floors."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from bench import exported_model
from bench.body_generator import BodyGenerator, body_load
from bench.floor_process import socket_sink
from bench.http_answers import BadAnswerError
from bench.image_bodies import ImageBody, json_body, npy_body, random_image, raw_body
from bench.image_models import image_mean
from bench.load import Target
from bench.rest_image import black_image
from bench.server import Server

IMAGE = random_image(4)
MEAN = float(IMAGE.mean(dtype=np.float64))


def npy(values: list[float]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values, "<f4"))
    return file.getvalue()


ANSWERS: list[tuple[Callable[..., ImageBody], Callable[[list[float]], bytes]]] = [
    (raw_body, lambda values: np.array(values, "<f4").tobytes()),
    (npy_body, npy),
    (json_body, lambda values: json.dumps({"predictions": values}).encode()),
]


@pytest.mark.parametrize(("body_of", "answer"), ANSWERS)
def test_answers_are_checked(body_of: Callable[..., ImageBody], answer: Callable[[list[float]], bytes]) -> None:
    body = body_of(IMAGE)
    body.check([answer([MEAN]), answer([MEAN * (1 + 1e-5)])], IMAGE)
    for wrong in (answer([MEAN * 1.01]), answer([MEAN, MEAN]), answer([]), b"", b"{}", b"abc", b'{"predictions":3}'):
        with pytest.raises(RuntimeError, match=body.kind):
            body.check([answer([MEAN]), wrong], IMAGE)


def test_bodies_hold_the_image() -> None:
    assert np.array_equal(np.frombuffer(raw_body(IMAGE).body, "<f4").reshape(1, 4, 4, 3), IMAGE)
    assert np.array_equal(np.load(io.BytesIO(npy_body(IMAGE).body)), IMAGE)
    assert np.array_equal(np.float32(json.loads(json_body(IMAGE).body)["instances"]), IMAGE)


def test_a_request_is_http() -> None:
    head, _, body = raw_body(IMAGE).request(80, "/p").partition(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        "POST /p HTTP/1.1",
        "Host: 127.0.0.1:80",
        "Content-Type: application/octet-stream",
        "X-Ringserve-Dtype: float32",
        "X-Ringserve-Shape: 1,4,4,3",
        "Content-Length: 192",
    ]
    assert body == IMAGE.tobytes()


@contextmanager
def answering(pieces: list[bytes], size: int) -> Iterator[int]:
    """The port of a server that answers each `size` bytes with the next of the pieces, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):  # the client may have had enough
                for piece in pieces:
                    left = size
                    while left:
                        left -= len(connection.recv(left))
                    for at in range(0, len(piece), 7):  # in many pieces
                        connection.sendall(piece[at : at + 7])

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_answers_are_kept_and_times_counted() -> None:
    with answering([http(b"one"), http(b"three")], 1_000_000) as port:
        generator = BodyGenerator(port, bytes(1_000_000))
        assert [generator.run(0).requests for _ in range(2)] == [1, 1]
        assert generator.answers == {b"one", b"three"}
        generator.close()


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (http(b"too large", "413 Content Too Large"), r"413.*too large"),
        (http(b"abc")[:-1], "connection closed"),
        (b"", "connection closed"),
        (b"x" * 20_000, "a head without an end"),
    ],
)
def test_what_fails_is_told(piece: bytes, words: str) -> None:
    with answering([piece], 10) as port:
        generator = BodyGenerator(port, bytes(10))
        with pytest.raises(BadAnswerError, match=words):
            generator.run(5)
        generator.close()


def test_a_sink_takes_bytes_and_answers_with_one(tmp_path: Path) -> None:
    request = tmp_path / "request"
    request.write_bytes(bytes(3_000_000))
    with socket_sink(3_000_000) as port:
        found = body_load(port, request, 2, 0.1, bare=True)
    assert found.answers == {b"+"}
    assert found.load.requests >= 2
    assert 0 < found.load.p50 <= found.load.longest


def test_the_server_by_hand_answers_and_its_refusal_is_told(tmp_path: Path) -> None:
    target = black_image("m", 4)
    body = json_body(IMAGE)
    request = tmp_path / "request"
    with Server([sys.executable, "-m", "bench.image_server", "--port", str(target.port)], target) as server:
        server.until_answered()
        request.write_bytes(body.request(target.port, target.path))
        found = body_load(target.port, request, 1, 0.05)
        body.check(found.answers, IMAGE)
        request.write_bytes(body.request(target.port, target.path).replace(b"POST", b"PUT"))
        with pytest.raises(RuntimeError, match="405"):
            body_load(target.port, request, 1, 0.05)


def test_a_black_image_has_the_shape() -> None:
    target: Target = black_image("m", 3)
    assert np.shape(json.loads(target.body)["instances"]) == (1, 3, 3, 3)
    assert target.answer == {"predictions": [0.0]}


def test_a_model_takes_images_of_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def export(_: str, script: str, arguments: list[str]) -> None:
        compile(script, "script", "exec")
        asked.append(arguments[:-1])
        Path(arguments[-1]).mkdir()

    monkeypatch.setattr(exported_model, "_export", export)
    for _ in range(2):
        assert image_mean(8, tmp_path) == tmp_path / "image_mean_8"
    assert asked == [["8"]]
    assert (tmp_path / "image_mean_8" / "1").is_dir()
