"""`ringserve predict` and `ringserve status` with arrays, files and pictures, over HTTP and other protocols."""

from __future__ import annotations

import base64
import io
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answering_server import METADATA, PREDICT, STATUS, answering_server, half_plus_two, metadata_of
from http_model_server import Answer, Asked, HttpModelServer, http_model_server, json_answer, message_answer

from frontend.bodies.tensor_message import read_request
from ringserve.cli import main
from ringserve.command_answers import answer_document
from ringserve.command_inputs import PictureFile, read_inputs
from ringserve.command_pictures import picture_array
from ringserve.flags import UsageError
from ringserve.protos import message_module
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME

Capture = pytest.CaptureFixture[str]
PNG = b"\x89PNG, as far as anybody here looks"


class Server:
    """As ringserve's: answers with the inputs, under the names that they have."""

    def __init__(self, server: HttpModelServer) -> None:
        self.server = server
        self.signature = Signature.of({"x": ("float", (-1,))}, {})
        server.answer = self._answer

    def inputs(self) -> dict[str, Any]:
        """Of the last predict request."""
        return {alias: tensor.data for alias, tensor in read_request(self.server.asked[-1].body, 1 << 20).inputs.items()}

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            spec = {
                spec.alias: {
                    "dtype": f"DT_{spec.dtype.name.upper()}",
                    "tensor_shape": {"dim": [{"size": str(size)} for size in spec.shape or ()], "unknown_rank": False},
                    "name": spec.name,
                }
                for spec in self.signature.inputs
            }
            fields = {"inputs": spec, "outputs": {}, "method_name": ""}
            return json_answer(
                {
                    "model_spec": {"name": "m", "version": "3"},
                    "metadata": {"signature_def": {"signature_def": {"serving_default": fields}}},
                }
            )
        return message_answer(asked, self.signature, read_request(asked.body, 1 << 20).inputs)


@pytest.fixture
def server() -> Iterator[Server]:
    with http_model_server() as made:
        yield Server(made)


@pytest.fixture
def predict(server: Server, capsys: Capture) -> Callable[..., Any]:
    """The command with these words: what it prints, as JSON."""

    def run(*words: str) -> Any:
        assert main(["predict", "m", "--url", server.server.url, *words]) == 0, capsys.readouterr().err
        out = capsys.readouterr().out
        return json.loads(out) if out else None

    return run


@pytest.fixture
def misuse(server: Server, capsys: Capture) -> Callable[..., str]:
    """What is wrong with these words."""

    def run(*words: str) -> str:
        assert main(["predict", "m", "--url", server.server.url, *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        first, second = err.splitlines()
        assert second == "Try 'ringserve predict --help'."
        return first.removeprefix("ringserve predict: ")

    return run


Predict = Callable[..., Any]
Misuse = Callable[..., str]


def saved(path: Path, array: Any) -> str:
    np.save(path, array)
    return str(path)


def test_arrays_out_of_files(predict: Predict, server: Server, tmp_path: Path) -> None:
    array = saved(tmp_path / "x.npy", np.array([[0.1, 2]], np.float32))
    assert predict("--input", array) == {"outputs": [[0.1, 2.0]]}
    assert server.inputs()["x"].dtype == np.float32
    np.savez(tmp_path / "both.npz", a=np.array([1], np.int64), b=np.array([b"s"]))
    assert predict("--input", f"{tmp_path}/both.npz") == {"outputs": {"a": [1], "b": ["s"]}}
    np.savez(tmp_path / "one.npz", whatever=np.array([5], np.int8))
    assert predict("--input", f"x={tmp_path}/one.npz") == {"outputs": [5]}


def test_an_array_from_standard_input(predict: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    np.save(data, np.array([7], np.int32))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data.getvalue())))
    assert predict("--input", "-") == {"outputs": [7]}


def test_instances_from_standard_input(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.server.answer = lambda asked: json_answer({"predictions": []})
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b" [1.0]\n")))
    assert main(["predict", "m", "--url", server.server.url, "--input", "-"]) == 0
    assert server.server.asked[0].body == b'{"instances":  [1.0]\n}'


def test_json_beside_arrays_takes_the_inputs_types(predict: Predict, server: Server, tmp_path: Path) -> None:
    server.signature = Signature.of({"x": ("float", (-1,)), "s": ("string", (-1,))}, {})
    array = saved(tmp_path / "a.npy", np.array([1], np.int64))
    answer = predict("--input", f"a={array}", "--input", "x=[1, 2]", "--input", 's=["t", {"b64": "/w=="}]')
    assert answer == {"outputs": {"a": [1], "x": [1.0, 2.0], "s": ["t", {"b64": "/w=="}]}}
    assert server.inputs()["x"].dtype == np.float32


def test_which_version_and_which_outputs(predict: Predict, server: Server, tmp_path: Path) -> None:
    array = saved(tmp_path / "x.npy", np.array([1], np.float32))
    words = ("--label", "stable", "--key", "k", "--priority", "low", "--signature", "s", "--outputs", "b,a")
    predict("--input", f"x={array}", *words)
    (asked,) = server.server.asked
    assert asked.path == "/v1/models/m/labels/stable:predict"
    assert (asked.headers["X-Ringserve-Key"], asked.headers["X-Priority"]) == ("k", "low")
    request = read_request(asked.body, 1 << 20)
    assert (request.signature, request.outputs) == ("s", ("b", "a"))


def test_json_as_it_was_written_goes_to_a_label_with_a_key(server: Server) -> None:
    server.server.answer = lambda asked: json_answer({})
    words = ["--label", "a b", "--key", "k", "--priority", "low", "--input", "[1]"]
    assert main(["predict", "m", "--url", server.server.url, *words]) == 0
    (asked,) = server.server.asked
    assert (asked.path, asked.headers["X-Ringserve-Key"]) == ("/v1/models/m/labels/a%20b:predict", "k")
    assert asked.headers["X-Priority"] == "low"
    assert asked.body == b'{"instances": [1]}'


def test_arrays_into_files(predict: Predict, tmp_path: Path) -> None:
    x, other = saved(tmp_path / "x.npy", np.array([[1.5]], np.float32)), saved(tmp_path / "o.npy", np.array([b"s"]))
    out = str(tmp_path / "out.npz")
    assert predict("--input", f"x={x}", "--input", f"file={other}", "--out", out) is None
    with np.load(out) as found:
        assert found["x"].tolist() == [[1.5]]
        assert found["file"].tolist() == [b"s"]
    one = str(tmp_path / "out.npy")
    predict("--input", saved(tmp_path / "x.npy", np.array([1, 2], np.int64)), "--out", one)
    assert np.load(one).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arrays", "out", "text"),
    [
        ({"x": [1], "y": [2]}, "o.npy", "a .npy file holds one array, and there are 2 (x, y): use .npz, or --outputs"),
        ({"x": [b"a\0b", b"c"]}, "no/such/o.npz", "cannot write "),
    ],
)
def test_files_that_cannot_be(misuse: Misuse, tmp_path: Path, arrays: Any, out: str, text: str) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    assert misuse("--input", f"{tmp_path}/in.npz", "--out", f"{tmp_path}/{out}").startswith(text)


def test_misuses(misuse: Misuse, tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4")
    np.savez(tmp_path / "two.npz", a=[1], b=[2])
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    for words, text in (
        (["x=/no/such.npy"], "cannot read /no/such.npy: No such file or directory"),
        (["/no/such.png"], "cannot read /no/such.png: No such file or directory"),
        ([f"{tmp_path}/bad.npy"], f"{tmp_path}/bad.npy holds no arrays: "),
        ([f"{tmp_path}/bad.npz"], f"{tmp_path}/bad.npz holds no arrays: "),
        ([f"{tmp_path}/object.npy"], f"{tmp_path}/object.npy holds no arrays: "),
        ([f"x={tmp_path}/two.npz"], f"{tmp_path}/two.npz has 2 arrays, whose names are the inputs': leave out x="),
        ([f"{tmp_path}/two.npz", "a=[1]"], "--input a=... is given twice"),
        ([f"{tmp_path}/two.npz", "[1]"], "either every --input has a name, or there is only one"),
    ):
        assert misuse(*(f"--input={word}" for word in words)).startswith(text)
    assert misuse("--input=[1]", "--out=o.txt") == "--out is a .npz or a .npy file, not o.txt"
    assert "not allowed with argument" in misuse("--input=[1]", "--version=1", "--label=l")
    assert misuse("--input=[1]", "--timeout=-1").startswith("argument --timeout: invalid")


def test_a_picture_for_a_string(predict: Predict, server: Server, tmp_path: Path) -> None:
    (tmp_path / "cat.PNG").write_bytes(PNG)
    server.signature = Signature.of({"image": ("string", (-1,))}, {})
    expected = {"outputs": [{"b64": base64.b64encode(PNG).decode()}]}
    assert predict("--input", f"{tmp_path}/cat.PNG") == expected
    assert predict("--input", f"image={tmp_path}/cat.PNG") == expected
    assert server.inputs()["image"] == [PNG]


def test_a_picture_for_nobody(misuse: Misuse, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    assert misuse("--input", f"y={tmp_path}/cat.png") == "--input NAME=... is one of x"


def test_a_picture_for_numbers_needs_pillow(misuse: Misuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    (tmp_path / "cat.png").write_bytes(PNG)
    server_shape = Signature.of({"x": ("float", (-1, 2, 2, 3))}, {}).inputs[0]
    with pytest.raises(UsageError, match="the package Pillow is needed, which is not installed"):
        picture_array(PictureFile("cat.png", PNG), server_shape)
    assert "input 'x' has the shape [-1]" in misuse("--input", f"x={tmp_path}/cat.png")


class PlayedImage:
    """Of 2 rows of 5 pixels, as Pillow has it."""

    def __init__(self, mode: str = "RGB") -> None:
        self.mode = mode

    def convert(self, mode: str) -> PlayedImage:
        return PlayedImage(mode)

    def __enter__(self) -> PlayedImage:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[self.mode]
        shape = (2, 5, *channels)
        return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


@pytest.fixture
def pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(file: Any) -> PlayedImage:
        if file.read() != PNG:
            raise OSError("cannot identify image file")
        return PlayedImage()

    module = types.ModuleType("PIL.Image")
    module.__dict__.update(open=opened, DecompressionBombError=ArithmeticError)
    monkeypatch.setitem(sys.modules, "PIL", types.ModuleType("PIL"))
    monkeypatch.setitem(sys.modules, "PIL.Image", module)


def spec_of(shape: tuple[int, ...] | None, dtype: str = "float") -> TensorSpec:
    return TensorSpec("x", "x:0", BY_NAME[dtype], shape)


@pytest.mark.usefixtures("pillow")
@pytest.mark.parametrize(
    ("declared", "found"),
    [
        (None, (1, 2, 5, 3)),
        ((-1, -1, -1, 3), (1, 2, 5, 3)),
        ((-1, 2, 5, -1), (1, 2, 5, 3)),
        ((1, 2, 5, 1), (1, 2, 5, 1)),
        ((-1, 2, 5, 4), (1, 2, 5, 4)),
        ((-1, 3, 2, 5), (1, 3, 2, 5)),
        ((-1, 1, 2, 5), (1, 1, 2, 5)),
        ((2, 5, 3), (2, 5, 3)),
        ((-1, -1, 1), (2, 5, 1)),
        ((-1, 2, 5), (1, 2, 5)),
        ((2, 5), (2, 5)),
        ((-1, 784), None),
        ((-1,), None),
        ((), None),
        ((-1, 224, 224, 3), None),
        ((-1, 3, 5, 2), None),
        ((2, 2, 5, 3), None),
    ],
)
def test_shapes_of_pictures(declared: tuple[int, ...] | None, found: tuple[int, ...] | None) -> None:
    picture = PictureFile("cat.png", PNG)
    if found is None:
        with pytest.raises(UsageError, match=r"cat\.png"):
            picture_array(picture, spec_of(declared))
        return
    array = picture_array(picture, spec_of(declared))
    assert array.shape == found
    assert array.dtype == np.float32
    in_rows = array.transpose(0, 2, 3, 1) if array.shape[1:] == (3, 2, 5) else array
    assert in_rows.ravel().tolist() == list(range(array.size))


@pytest.mark.usefixtures("pillow")
def test_what_is_no_picture() -> None:
    with pytest.raises(UsageError, match=r"x\.png is no picture that can be decoded: cannot identify image file"):
        picture_array(PictureFile("x.png", b"else"), spec_of(None))


def test_other_protocols(capsys: Capture, tmp_path: Path) -> None:
    statuses = message_module("tensorflow_serving.apis.get_model_status_pb2")
    with answering_server() as (server, port):
        server.answers[PREDICT] = half_plus_two
        server.answers[METADATA] = metadata_of(x=1)
        response = statuses.GetModelStatusResponse()
        response.model_version_status.add(version=7, state=30)
        response.model_version_status.add(version=6, state=50).status.error_code = 5
        server.answers[STATUS] = lambda message, context: response
        url = f"--url=grpc://127.0.0.1:{port}"
        (tmp_path / "whole.json").write_text('{"signature_name": "serving_default", "inputs": [2, 4]}')
        for words, expected in (
            (["[2.0, 4]"], {"predictions": [3.0, 4.0]}),
            ([f"@{tmp_path}/whole.json"], {"outputs": [3.0, 4.0]}),
            (["x=[2]"], {"outputs": [3.0]}),
        ):
            assert main(["predict", "m", url, *(f"--input={word}" for word in words)]) == 0
            assert json.loads(capsys.readouterr().out) == expected
        assert main(["status", url, "m"]) == 0
        assert capsys.readouterr().out.splitlines()[1:] == ["      7  AVAILABLE", "      6  END        NOT_FOUND:"]
        assert main(["status", url, "m", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["model_version_status"][0] == {
            "version": "7",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }


def test_rows_of_named_inputs() -> None:
    _, values = read_inputs(['[{"a": 1, "b": "x"}, {"a": 2, "b": {"b64": "/w=="}}]']).plain()
    assert values == {"a": [1, 2], "b": ["x", b"\xff"]}
    for words, text in (
        (['[{"a": 1}, {"b": 2}]'], "all instances name the same inputs"),
        (["[]"], "instances are a list"),
        (['[[{"a": 1}]]'], "an object inside an input"),
        (['[{"b64": "?"}]'], "what should be base64 isn't"),
    ):
        with pytest.raises(UsageError, match=text):
            read_inputs(words).plain()


def test_answers_as_json() -> None:
    row = {
        "f": np.array([0.1, np.inf], np.float32),
        "s_bytes": np.array([b"a", b"b"], object),
        "h": np.array([0.1, 1], np.float16),
    }
    assert answer_document(row, in_rows=True) == {
        "predictions": [
            {"f": 0.1, "s_bytes": {"b64": "YQ=="}, "h": 0.099975586},
            {"f": np.inf, "s_bytes": {"b64": "Yg=="}, "h": 1.0},
        ]
    }
    assert answer_document({"y": np.array([[True]])}, in_rows=True) == {"predictions": [[True]]}
    assert answer_document({"y": np.array(0.1)}, in_rows=False) == {"outputs": 0.1}
    assert answer_document({"y": np.ones(2), "z": np.ones(())}, in_rows=True) == {"outputs": {"y": [1.0, 1.0], "z": 1.0}}
    with pytest.raises(UsageError, match="complex"):
        answer_document({"y": np.ones(1, complex)}, in_rows=False)
