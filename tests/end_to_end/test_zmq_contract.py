"""What docs/zmq.md promises, over real sockets: every form of message and answer, and what errors say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgpack
import numpy as np
import pytest
import zmq

from end_to_end.conftest import DATA
from end_to_end.grpc_load import channel_to
from end_to_end.grpc_questions import PREDICT, example_message, predict_message
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from end_to_end.zmq_client import Array, ZmqClient, differs, outputs, predicting, tensor

MODELS = ("half_plus_two_2d", "identity", "two_inputs", "text", "dynamic_image", "echo_big", "fails_on_negative", "slow",
          "scalar", "no_inputs", "data_dependent", "examples")  # fmt: skip
ALL = "model_version_policy { all {} }"
LABELS = 'version_labels { key: "stable" value: 1 } version_labels { key: "new" value: 2 }'


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("zmq")
    config = ModelConfigFile(folder / "models.config").write(
        *(entry(name, models / name) for name in MODELS),
        entry("half_plus_two", models / "half_plus_two", f"{ALL} {LABELS}"),
        entry("default", DATA / "saved_model_half_plus_two_cpu"),
    )
    path = folder / "zmq.sock"
    labels = "--allow_version_labels_for_unavailable_models"
    flags = config, labels, f"--zmq_endpoint=ipc://{path}", "--max_request_bytes=67108864"
    with RunningServer(*flags, zmq=True, grpc=True) as running:
        yield running


def tcp(server: RunningServer) -> str:
    return f"tcp://127.0.0.1:{server.zmq_port}"


def ipc(server: RunningServer) -> str:
    (flag,) = [flag for flag in server._command if flag.startswith("--zmq_endpoint=")]
    return flag.removeprefix("--zmq_endpoint=")


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[ZmqClient]:
    with ZmqClient(tcp(server)) as made:
        yield made


def floats(*values: Any) -> Array:
    return np.array(values, "<f4")


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.REQ])
@pytest.mark.parametrize("address", [tcp, ipc])
def test_sockets(server: RunningServer, kind: int, address: Any) -> None:
    with ZmqClient(address(server), kind) as client:
        for number in range(20):
            got = client.predict("half_plus_two", x=floats(number, 5))
            assert got["y"].tolist() == [number / 2 + 3, 5.5]  # type: ignore[union-attr]
        assert client.ask({"id": 1, "model": "none", "inputs": []})["code"] == 5
        assert client.ask(b"\xc1")["code"] == 3
        if kind == zmq.DEALER:
            client.socket.send_multipart([b"", msgpack.packb(predicting("half_plus_two", {"x": floats(2)}))])
            delimiter, header = client.socket.recv_multipart()
            assert (delimiter, outputs(msgpack.unpackb(header))["y"].tolist()) == (b"", [4.0])  # type: ignore[union-attr]


def test_an_answer_says_who_gave_it(client: ZmqClient) -> None:
    x = floats(1, 2)
    for fields, version in (({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1), ({"label": "new", "key": "me"}, 2)):
        answer = client.ask({"v": 1, "call": "predict", "id": b"me", **predicting("half_plus_two", {"x": x}, **fields)})
        right = x / 2 + np.float32(version + 1)
        assert not differs(answer, y=right)
        assert {name: answer[name] for name in ("v", "id", "model", "version", "signature")} == {
            "v": 1, "id": b"me", "model": "half_plus_two", "version": version, "signature": "serving_default",
        }  # fmt: skip
        assert list(answer) == ["v", "id", "model", "version", "signature", "outputs"]


def test_every_type(server: RunningServer, client: ZmqClient) -> None:
    told = client.ask({"call": "metadata", "model": "identity"})
    names = [name for name in told["signatures"] if name != "serving_default" and not name.startswith("_")]
    assert len(names) >= 10
    for name in names:
        if name == "string":
            got: Any = client.predict("identity", signature=name, x=[])
            assert got == {"y": []} or "shape" in str(got)
            continue
        size = {"half": 2, "float": 4, "double": 8, "bfloat16": 2, "bool": 1, "complex64": 8, "complex128": 16}.get(
            name, int(re.sub(r"\D", "", name) or 8) // 8
        )
        data = np.random.default_rng(5).integers(0, 2, 6 * size, "u1").tobytes()
        answer = client.ask({"id": 1, "model": "identity", "signature": name, "inputs": [["x", name, [3, 2], data]]})
        assert answer["outputs"] == [["y", name, [3, 2], data]], answer


def test_strings(client: ZmqClient) -> None:
    words = [b"a", b"", b"\xff\x00", "\u00e9".encode(), b"x" * 70_000]
    for sent in (words, ["a", b"", b"\xff\x00", "\u00e9", "x" * 70_000]):
        answer, frames = ask(client, {"model": "text", "inputs": [["x", "string", [5], sent]]})
        upper = [word.upper() for word in words]
        assert frames == []
        lengths = np.array([len(word) for word in words], "<i4")
        assert not differs(answer, upper=upper, upper_bytes=upper, length=lengths)
    many = [b"%d" % number for number in range(50_000)]
    answer, frames = ask(client, {"model": "text", "outputs": ["upper"], "inputs": [["x", "string", [len(many)], many]]})
    assert not differs(answer, frames, upper=many)


def ask(client: ZmqClient, message: Any, *frames: bytes) -> tuple[Any, list[bytes]]:
    client.send(message, *frames)
    return client.receive()


def test_outputs_that_are_asked_for(client: ZmqClient) -> None:
    inputs = {"a": floats([1, 2, 3]), "b": np.array([4], "<i4")}
    both = {"sum": floats([5, 6, 7]), "count": np.array([4], "<i8")}
    for names in ([], ["sum"], ["count"], ["sum", "count"], ["count", "sum"]):
        answer = client.ask(predicting("two_inputs", inputs, outputs=names))
        assert not differs(answer, (), **{name: both[name] for name in names or both})
        assert not names or [output[0] for output in answer["outputs"]] == names
    assert client.ask(predicting("two_inputs", inputs, outputs=["none"]))["code"] == 3


def test_shapes_as_the_model_likes_them(client: ZmqClient) -> None:
    assert client.predict("half_plus_two", x=floats()[:0])["y"].tolist() == []  # type: ignore[union-attr]
    assert client.predict("half_plus_two_2d", x=floats([2], [4]))["y"].tolist() == [[3], [4]]  # type: ignore[union-attr]
    image = np.ones((1, 7, 5, 3), "<f4") * floats(1, 2, 4)
    for _ in range(12):  # by then such rows have a lane of their own
        assert client.predict("dynamic_image", x=image)["mean"].tolist() == [[1, 2, 4]]  # type: ignore[union-attr]
    got = client.predict("data_dependent", x=np.array([1, 2, 1], "<i4"))
    assert [value.tolist() for value in got.values() if isinstance(value, np.ndarray)] == [[1, 2]]
    answer = client.ask({"model": "no_inputs", "inputs": []})
    assert "outputs" in answer or answer["code"] == 3


def test_large_frames_both_ways(client: ZmqClient) -> None:
    """Twelve mebibytes, from a frame and inline; the answer is a frame in either case."""
    image = np.random.default_rng(1).random((1, 1024, 1024, 3), "f4")
    frame = image.tobytes()
    for message, frames in (
        ({"model": "echo_big", "inputs": [tensor("image", image, 1)]}, [b"not this one", frame]),
        (predicting("echo_big", {"image": image}), []),
    ):
        answer, got = ask(client, message, *frames)
        assert answer["outputs"][0][3] == 0 and len(got) == 1
        assert not differs(answer, got, y=image * 2)


def test_small_outputs_are_inline_and_others_are_frames(client: ZmqClient) -> None:
    for count, frames in ((16383, 0), (16384, 1)):
        x = np.arange(count, dtype="<f4")
        answer, got = ask(client, predicting("half_plus_two", {"x": x}, version=1))
        assert len(got) == frames
        assert not differs(answer, got, y=x / 2 + 2)


def test_several_requests_in_one_message(client: ZmqClient) -> None:
    x = [floats(number) for number in range(100)]
    messages = [{**predicting("half_plus_two", {"x": value}, version=1), "id": index} for index, value in enumerate(x)]
    messages[50] = {"id": 50, "model": "none", "inputs": []}
    messages[51] = {"id": 51, "call": "models"}
    client.send(messages)
    found = {answer["id"]: answer for answer in client.gather(100)}
    for index, value in enumerate(x):
        if index not in (50, 51):
            assert not differs(found[index], y=value / 2 + 2)
    assert found[50]["code"] == 5
    assert "half_plus_two" in found[51]["models"]
    shared = np.arange(20_000, dtype="<f4")
    parts = [
        {"id": number, "model": "half_plus_two", "version": number, "inputs": [tensor("x", shared, 0)]} for number in (1, 2)
    ]
    client.send(parts, shared.data.cast("B"))
    for answer in client.gather(2):
        assert not differs(answer, y=shared / 2 + np.float32(answer["id"] + 1))
    assert client.ask([])["code"] == 3
    assert [answer["code"] for answer in client.ask([1, "a"])] == [3, 3]


def test_each_row_a_request(client: ZmqClient) -> None:
    x = np.arange(1000, dtype="<f4")
    answer = client.ask(predicting("half_plus_two", {"x": x}, each=True, id="all", version=1))
    assert not differs(answer, y=x / 2 + 2)
    assert answer["id"] == "all" and "errors" not in answer
    for each, rows in ((True, 1), (4, 4)):
        roots = np.arange(40, dtype="<f4") ** 2
        roots[12] = -1
        answer = client.ask(predicting("fails_on_negative", {"x": roots}, each=each))
        ((index, code, text),) = answer["errors"]
        assert (index, code) == (12 // rows, 3) and "negative input" in text
        right = np.sqrt(np.abs(roots))
        right[12 // rows * rows : 12 // rows * rows + rows] = 0
        assert not differs(answer, y=right)
    a, b = np.arange(30, dtype="<f4").reshape(10, 3), np.arange(10, dtype="<i4")
    answer = client.ask(predicting("two_inputs", {"a": a, "b": b}, each=2))
    assert not differs(answer, sum=a + b[:, None].astype("f4"), count=b.astype("<i8"))
    answer = client.ask(predicting("identity", {"x": np.arange(6, dtype="<i8").reshape(3, 2)}, each=True, signature="int64"))
    assert not differs(answer, y=np.arange(6, dtype="<i8").reshape(3, 2))
    assert client.ask(predicting("none", {"x": x}, each=True))["code"] == 5
    assert "numeric inputs" in client.ask(predicting("text", {"x": [b"a"]}, each=True))["error"]


def example(x: float) -> bytes:
    from ringserve.protos import message_module  # noqa: PLC0415

    made = message_module("tensorflow.core.example.example_pb2").Example()
    made.features.feature["x"].float_list.value.append(x)
    serialised: bytes = made.SerializeToString()
    return serialised


def test_classify_and_regress(client: ZmqClient) -> None:
    """Upstream's own half_plus_two."""
    for count in (1, 3):
        sent = [example(float(number)) for number in range(count)]
        values = [number / 2 + 2 for number in range(count)]
        fields = {"id": 1, "model": "default", "examples": sent}
        answer = client.ask({**fields, "call": "regress", "signature": "regress_x_to_y"})
        assert (answer["values"], answer["id"], answer["signature"]) == (values, 1, "regress_x_to_y")
        answer = client.ask({**fields, "call": "classify", "signature": "classify_x_to_y"})
        assert answer["rows"] == [[["", value]] for value in values]
    fields = {"model": "default", "signature": "regress_x_to_y", "call": "regress"}
    assert client.ask({**fields, "examples": [b""], "context": example(4.0)})["values"] == [4.0]
    assert client.ask({**fields, "examples": []})["error"] == "Input is empty."
    assert client.ask({**fields, "examples": [b"\xff\xff"]})["code"] == 3
    assert client.ask({**fields, "examples": [example(1)], "call": "classify"})["code"] == 3


def test_questions(server: RunningServer, client: ZmqClient) -> None:
    versions = [{"version": number, "state": 30, "code": 0, "error": ""} for number in (2, 1)]
    assert client.ask({"id": 1, "call": "status", "model": "half_plus_two"})["versions"] == versions
    assert client.ask({"call": "status", "model": "half_plus_two", "version": 1})["versions"] == versions[1:]
    assert client.ask({"call": "status", "model": "none"})["code"] == 5
    told = client.ask({"call": "metadata", "model": "two_inputs"})
    assert told["version"] == 1
    signature = told["signatures"]["serving_default"]
    assert {name: spec[1:] for name, spec in signature["inputs"].items()} == {"a": [1, [-1, 3]], "b": [3, [-1]]}
    assert client.ask({"call": "metadata", "model": "half_plus_two", "label": "stable"})["version"] == 1
    names = client.ask({"call": "models"})["models"]
    assert set(names) == {*MODELS, "half_plus_two", "default"}
    assert client.ask({"call": "health"})["ready"] is True
    assert client.ask({"call": "health", "model": "text"})["ready"] is True
    assert client.ask({"call": "health", "model": "none"})["ready"] is False


def test_time_limits(client: ZmqClient) -> None:
    """The other requests of the connection have nothing to do with it."""
    client.send({**predicting("slow", {"x": floats(1)}, timeout_ms=10), "id": "late"})
    client.send({**predicting("half_plus_two", {"x": floats(1)}, timeout_ms=10_000, version=1), "id": "soon"})
    client.send({**predicting("slow", {"x": floats(1, 2)}, timeout_ms=10_000), "id": "patient"})
    client.send({**predicting("slow", {"x": floats(1, 2)}, timeout_ms=10, each=True), "id": "each"})
    found = {answer["id"]: answer for answer in client.gather(4)}
    for name in ("late", "each"):
        assert (found[name]["code"], found[name]["error"]) == (4, "Timed out waiting for notification")
    assert not differs(found["soon"], y=floats(2.5))
    assert not differs(found["patient"], y=floats(1, 2))


X = floats(1)
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("none", {"x": X}),
    ("half_plus_two_2d", {"z": X}),
    ("half_plus_two_2d", {}),
    ("half_plus_two_2d", {"x": X, "z": X}),
    ("half_plus_two_2d", {"x": np.array([1], "<i8")}),
    ("half_plus_two_2d", {"x": [b"text"]}),
    ("two_inputs", {"a": floats([1, 2, 3])}),
    ("two_inputs", {"a": floats([1, 2]), "b": np.array([1], "<i4")}),
    ("fails_on_negative", {"x": floats(-1)}),
    ("half_plus_two_2d", {"x": floats(-1).reshape(1, 1, 1, 1)}),
]


@pytest.mark.parametrize(("model", "inputs"), REFUSED)
def test_errors_are_grpcs(server: RunningServer, client: ZmqClient, model: str, inputs: dict[str, Any]) -> None:
    with channel_to(server.grpc_port) as channel:
        try:
            channel.unary_unary(PREDICT)(predict_message(model, **inputs), timeout=20)
            over_grpc: Any = "fine"
        except grpc.RpcError as error:
            over_grpc = (error.code().value[0], error.details())
    answer = client.ask(predicting(model, inputs))
    assert (over_grpc == "fine") == ("outputs" in answer)
    if over_grpc != "fine":
        assert (answer["code"], answer["error"]) == over_grpc
        assert answer["status"] == grpc_name(answer["code"])


def grpc_name(code: int) -> str:
    return next(str(status.name) for status in grpc.StatusCode if status.value[0] == code)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"", "ends inside a value"),
        (b"\xc1", "no MessagePack"),
        ({"model": "half_plus_two", "inputs": [["x", "float", [2], b"1234"]]}, "inputs[0] (x): 4 bytes of data; float of"),
        ({"model": "half_plus_two", "inputs": [["x", "float99", [1], b"1234"]]}, "dtype: 'float99'"),
        ({"model": "half_plus_two", "inputs": [["x", "float", [1], 0]]}, "data: 0; expected the bytes of float (a bin)"),
        ({"model": "half_plus_two", "inputs": [["x", "float", [-1], b""]]}, "-1"),
        ({"model": "half_plus_two", "inputs": [["x", "float", [1 << 40, 1 << 40], b""]]}, "inputs[0] (x)"),
        ({"model": "half_plus_two", "inputs": "x"}, "inputs: 'x'; expected an array"),
        ({"model": "half_plus_two"}, "inputs: nothing"),
        ({"inputs": []}, "model: nothing"),
        ({"model": "half_plus_two", "inputs": [["x", "float", [1], b"1234"]] * 2}, "'x' is there twice"),
        ({"model": "identity", "signature": "bool", "inputs": [["x", "bool", [1, 2], b"\1\2"]]}, "neither 0 nor 1"),
        ({"model": "half_plus_two", "timeout_ms": -1, "version": "a", "inputs": []}, "version: 'a'"),
        ({"model": "half_plus_two", "version": 1, "label": "a", "inputs": []}, "at once"),
        ({"model": "half_plus_two", "label": "none", "inputs": []}, "Unrecognized servable version label: none"),
        ({"model": "half_plus_two", "signature": "none", "inputs": []}, '"none" not found in signature def'),
        ({"call": "none"}, "expected one of predict, classify"),
    ],
)  # fmt: skip
def test_errors_name_what_was_wrong(client: ZmqClient, message: Any, text: str) -> None:
    sent = message if isinstance(message, bytes) else {"id": 5, **message}
    answer = client.ask(sent)
    assert text in answer["error"]
    assert answer["id"] == (None if isinstance(message, bytes) else 5)
    assert answer["code"] in (3, 12)


def test_too_large(client: ZmqClient) -> None:
    x = np.zeros(20 << 20, "<f4")  # 80 MiB
    client.send({"id": 1, "model": "half_plus_two", "inputs": [tensor("x", x, 0)]}, x.data.cast("B"))
    answer, _ = client.receive()
    assert answer["code"] == 8
    assert "--max_request_bytes" in answer["error"]
    assert client.predict("half_plus_two", x=floats(2))["y"].tolist() == [4]  # type: ignore[union-attr]


def test_what_is_counted(server: RunningServer) -> None:
    def counted() -> dict[str, float]:
        page = server.get("/metrics").body.decode()
        found = re.findall(r'ringserve_requests_total\{([^}]*entrypoint="ZMQ"[^}]*)\} (\S+)', page)
        return {labels: float(value) for labels, value in found if 'model="half_plus_two_2d"' in labels}

    before = counted()
    with ZmqClient(tcp(server)) as client:
        for _ in range(7):
            client.predict("half_plus_two_2d", x=floats([1]))
        client.ask(predicting("half_plus_two_2d", {"x": np.ones((50, 1), "<f4")}, each=True))
        client.ask(predicting("half_plus_two_2d", {"z": X}))
    wait_until(
        lambda: sum(counted().values()) - sum(before.values()) == 58, 5, lambda: f"58 more than {before}: {counted()}"
    )
    after = counted()
    (ok,) = [labels for labels in after if 'code="OK"' in labels]
    assert after[ok] - before.get(ok, 0) == 57


def test_the_message_of_another_protocol(client: ZmqClient) -> None:
    """Is refused in words."""
    for message in (
        example_message("default", "", floats(1)),
        predict_message("half_plus_two", x=X),
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        assert client.ask(message)["code"] == 3
