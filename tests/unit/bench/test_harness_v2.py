"""KServe V2 from preparation to load, against small servers of it: over HTTP in JSON and in binary, and over gRPC."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
import pytest

from bench.harness import v2_grpc
from bench.harness.payload import Synthetic
from bench.harness.preparation import prepare
from bench.harness.request_set import RequestSet
from bench.harness.target import PreparationError, Target
from bench.harness.transports import open_transport
from bench.harness.v2_tensors import listed_array, raw_array

LIMIT = 20.0
METADATA = {
    "name": "m",
    "versions": ["3"],
    "platform": "any",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}, {"name": "t", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


def inferred(x: Any, t: Any) -> Any:
    """y = 0.5 x + 2, and the length of t."""
    return np.array([0.5 * row + 2 + len(text) for row, text in zip(x, t, strict=True)], np.float32)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v2/models/m":
            self.answer(200, json.dumps(METADATA).encode())
        else:
            self.answer(404, b'{"error": "no such model"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        header = int(self.headers.get("Inference-Header-Content-Length", 0))
        request = json.loads(body[: header or None])
        arrays = {}
        at = header
        for tensor in request["inputs"]:
            name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
            if header:
                size = tensor["parameters"]["binary_data_size"]
                arrays[name] = raw_array(datatype, shape, body[at : at + size])
                at += size
            else:
                arrays[name] = listed_array(datatype, shape, tensor["data"])
        y = inferred(arrays["x"], arrays["t"])
        output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": y.shape}
        answer = {"model_name": "m", "model_version": str(time.monotonic_ns()), "id": request["id"], "outputs": [output]}
        if header:
            output["parameters"] = {"binary_data_size": y.nbytes}
            text = json.dumps(answer).encode()
            self.answer(200, text + y.tobytes(), {"Inference-Header-Content-Length": str(len(text))})
        else:
            output["data"] = y.ravel().tolist()
            self.answer(200, json.dumps(answer).encode())

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away when they have seen enough."""


@contextmanager
def over_http() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def infer(request: Any, context: Any) -> Any:
    arrays = {
        tensor.name: raw_array(tensor.datatype, list(tensor.shape), raw)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }
    y = inferred(arrays["x"], arrays["t"])
    response = v2_grpc._message("ModelInferResponse")(model_name=request.model_name, id=request.id)
    response.model_version = str(time.monotonic_ns())
    tensor = response.outputs.add(name="y", datatype="FP32", shape=y.shape)
    if len(y) % 2:  # servers may say it either way
        tensor.contents.fp32_contents.extend(y.ravel().tolist())
    else:
        response.raw_output_contents.append(y.tobytes())
    return response


def metadata(request: Any, context: Any) -> Any:
    if request.name != "m":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
    response = v2_grpc._message("ModelMetadataResponse")()
    for which in ("inputs", "outputs"):
        for tensor in METADATA[which]:
            getattr(response, which).add(**tensor)  # type: ignore[arg-type]
    return response


@contextmanager
def over_grpc() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))

    def handler(call: Any, request: str) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            call, v2_grpc._message(request).FromString, lambda message: message.SerializeToString()
        )

    handlers = {
        "ModelInfer": handler(infer, "ModelInferRequest"),
        "ModelMetadata": handler(metadata, "ModelMetadataRequest"),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait(LIMIT)


def drive(requests: RequestSet, count: int) -> Counter[str]:
    transport = open_transport(requests, 2)
    kinds: Counter[str] = Counter()
    gives_up = time.monotonic() + LIMIT
    try:
        for slot in range(2):
            transport.send(slot, slot)
        while kinds.total() < count:
            assert time.monotonic() < gives_up, kinds
            for slot, kind in transport.poll(0.05):
                kinds[kind] += 1
                transport.send(slot, kinds.total() % len(requests.requests))
    finally:
        transport.close()
    return kinds


@pytest.mark.parametrize("form", ["json", "binary"])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("over", [over_http, over_grpc])
def test_right_and_wrong_answers(over: Any, form: str, rows: int) -> None:
    """Each answer has another version's name: so all of them are read."""
    with over() as url:
        requests = prepare(Target(url, "m", api="v2", form=form), Synthetic(rows=rows, count=4))
        assert drive(requests, 20)[""] >= 20
        wire = requests.to_wire()
        wire["requests"][0]["answer"] = wire["requests"][1]["answer"]
        kinds = drive(RequestSet.from_wire(wire), 20)
        assert kinds.keys() == {"", "wrong answer"}


@pytest.mark.parametrize("over", [over_http, over_grpc])
def test_the_servers_words(over: Any) -> None:
    with over() as url:
        with pytest.raises(PreparationError, match="no such model"):
            prepare(Target(url, "n", api="v2"))
        with pytest.raises(PreparationError, match=r"404|NOT_FOUND"):
            prepare(Target(url, "n", api="v2", version=1))


def test_what_v2_has_no_words_for() -> None:
    with over_http() as url, pytest.raises(PreparationError, match="only json and binary"):
        prepare(Target(url, "m", api="v2", form="npy"))
    with pytest.raises(ValueError, match="only http://"):
        prepare(Target("zmq://localhost", "m", api="v2"))
