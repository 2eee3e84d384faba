"""Models whose exporter gave inputs default values: asked with and without them, over every protocol."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import prediction_logs as logs
import pytest

from end_to_end.conftest import write_config
from end_to_end.edited_model import edited
from end_to_end.grpc_stubs import Stubs, floats, metadata_request, predict_request, tensor
from end_to_end.running_server import RunningServer
from end_to_end.test_binary_bodies import MSGPACK, NPZ, PROTOBUF, Arrays, read_npz, write_msgpack, write_npz, write_protobuf

WRITERS = {NPZ: write_npz, MSGPACK: write_msgpack, PROTOBUF: write_protobuf}


def one_for_all_rows(signatures: Any) -> None:
    """b of two_inputs is 7, once: the model adds it to every row of a."""
    signatures["serving_default"].defaults["b"].CopyFrom(tensor("INT32", (1,), int_val=[7]))


def a_text(signatures: Any) -> None:
    signatures["serving_default"].defaults["x"].CopyFrom(tensor("STRING", (2,), string_val=[b"ab", b"\xff"]))


def too_large(signatures: Any) -> None:
    signatures["serving_default"].defaults["x"].CopyFrom(tensor("FLOAT", (1 << 40,), float_val=[1]))


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("with_defaults")
    added = edited(models / "two_inputs" / "1", folder / "added" / "1", one_for_all_rows)
    logs.write_file(added, logs.framed(logs.predict_log({"a": logs.tensor_proto([[1, 2, 3]])}).SerializeToString()))
    edited(models / "text" / "1", folder / "text" / "1", a_text)
    edited(models / "half_plus_two" / "1", folder / "too_large" / "1", too_large)
    flag = write_config(folder / "models.config", {name: folder / name for name in ("added", "text", "too_large")})
    with RunningServer(flag, "--max_num_load_retries=0", grpc=True) as running:
        yield running


@pytest.fixture(scope="module")
def stubs(server: RunningServer) -> Iterator[Stubs]:
    with Stubs(server.grpc_port) as found:
        yield found


def asked(rows: int, value: float, b: int | None) -> Any:
    inputs = {"a": floats(*[value] * 3 * rows, shape=(rows, 3))}
    if b is not None:
        inputs["b"] = tensor("INT32", (rows,), int_val=[b])
    return predict_request("added", inputs)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_value_that_has_fewer_rows_than_the_request(stubs: Stubs, rows: int) -> None:
    answer = stubs.call(asked(rows, 0.5, None))
    assert list(answer.outputs["sum"].float_val) == [7.5] * 3 * rows
    assert list(answer.outputs["count"].int64_val) == [7]


def test_requests_with_and_without_it_at_the_same_time(stubs: Stubs) -> None:
    """Those of one row can be run together, all others can't: each must get its own answer."""

    def right(number: int) -> bool:
        rows, b = number % 3 + 1, number if number % 2 else None
        answer = stubs.call(asked(rows, number, b))
        added = number + (7 if b is None else b)
        counted = [7] if b is None else [b] * rows
        return (list(answer.outputs["sum"].float_val), list(answer.outputs["count"].int64_val)) == (
            [added] * 3 * rows,
            counted,
        )

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(right, range(400)))


def test_no_input_at_all(stubs: Stubs) -> None:
    answer = stubs.call(predict_request("text", {}))
    assert list(answer.outputs["upper"].string_val) == [b"AB", b"\xff"]
    assert list(stubs.call(predict_request("text", {}, outputs=["length"])).outputs["length"].int_val) == [2, 1]
    given = predict_request("text", {"x": tensor("STRING", (1,), string_val=[b"c"])})
    assert list(stubs.call(given).outputs["upper"].string_val) == [b"C"]


@pytest.mark.parametrize("kind", WRITERS)
def test_binary_bodies(server: RunningServer, kind: str) -> None:
    arrays: Arrays = {"a": np.ones((2, 3), np.float32)}
    body, headers = WRITERS[kind](arrays)
    answer = server.ask("POST", "/v1/models/added:predict", body, {"Content-Type": kind, "Accept": NPZ, **headers})
    assert answer.status == 200, answer.body
    found = read_npz(answer)
    assert found["sum"].tolist() == [[8.0] * 3] * 2
    assert found["count"].tolist() == [7]


def test_json_has_to_name_every_input(server: RunningServer) -> None:
    answer = server.predict("added", {"inputs": {"a": [[1, 1, 1]]}})
    assert (answer.status, answer.json) == (400, {"error": "Missing named input: b in 'inputs' object."})
    answer = server.predict("added", {"instances": [{"a": [1, 1, 1]}]})
    assert answer.status == 400
    assert answer.json["error"].endswith("keys must be equal to: a,b")
    answer = server.predict("added", {"instances": [{"a": [1, 1, 1], "b": 2}]})
    assert answer.json == {"predictions": [{"sum": [3.0, 3.0, 3.0], "count": 2}]}


def test_the_metadata_shows_them(server: RunningServer, stubs: Stubs) -> None:
    document = server.get("/v1/models/added/metadata").json
    shown = document["metadata"]["signature_def"]["signature_def"]["serving_default"]["defaults"]
    assert (list(shown), shown["b"]["int_val"]) == (["b"], [7])
    (packed,) = stubs.call(metadata_request("added", "signature_def")).metadata.values()
    assert tensor("INT32", (1,), int_val=[7]).SerializeToString() in packed.value


def test_requests_that_come_with_the_version_may_leave_them_out_too(server: RunningServer) -> None:
    (version,) = server.described("added")["versions"]
    assert (version["warm_up"]["source"], version["warm_up"]["requests"]) == ("file", 1)


def test_values_that_no_front_end_could_keep(server: RunningServer) -> None:
    assert server.states("too_large") == {1: "END"}
    code, text = server.version_error("too_large", 1)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("The default values of the signatures' inputs take 4398046511")
