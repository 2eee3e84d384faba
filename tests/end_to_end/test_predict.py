"""Predict over REST: what every kind of model answers, in both formats."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

from end_to_end.running_server import RunningServer
from ringserve.protos import message_module

#: Two rows of two elements for each type that JSON can carry, at the ends of its range.
ROWS: dict[str, list[list[Any]]] = {
    "float": [[1.5, -2.25], [0.1, 16777216.0]],
    "double": [[0.1, -1e300], [5e-324, 1.7976931348623157e308]],
    "int8": [[-128, 127], [0, 1]],
    "int16": [[-32768, 32767], [0, 1]],
    "int32": [[-(1 << 31), (1 << 31) - 1], [0, 1]],
    "int64": [[-(1 << 63), (1 << 63) - 1], [0, 1]],
    "uint8": [[0, 255], [1, 2]],
    "uint32": [[0, (1 << 32) - 1], [1, 2]],
    "uint64": [[0, (1 << 64) - 1], [1, 2]],
    "bool": [[True, False], [False, True]],
    "string": [["", "plain"], ['"\\/\n\u0001', "\u00e9 \U0001f600"]],
}
NOT_IN_JSON = ("half", "bfloat16", "uint16", "complex64", "complex128")


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def predictions(server: RunningServer, model: str, instances: list[Any], **more: Any) -> Any:
    answer = server.predict(model, {"instances": instances, **more})
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["predictions"]
    return answer.json["predictions"]


def outputs(server: RunningServer, model: str, inputs: Any, **more: Any) -> Any:
    answer = server.predict(model, {"inputs": inputs, **more})
    assert answer.status == 200, answer
    assert list(answer.json) == ["outputs"]
    return answer.json["outputs"]


def test_half_plus_two_in_both_formats(catalogue: RunningServer) -> None:
    assert predictions(catalogue, "default", [2.0, 3.0, 4.0]) == [3.0, 3.5, 4.0]
    assert outputs(catalogue, "default", [2.0, 3.0, 4.0]) == [3.0, 3.5, 4.0]


def test_rows_as_declared_and_not(catalogue: RunningServer) -> None:
    """No shape is checked against the signature, which declares [-1, 1]."""
    assert predictions(catalogue, "default", [[2.0], [3.0]]) == [[3.0], [3.5]]
    assert predictions(catalogue, "half_plus_two_2d", [[2.0], [4.0]]) == [[3.0], [4.0]]
    assert outputs(catalogue, "default", 2.0) == 3.0
    assert outputs(catalogue, "default", [[[2.0, 4.0]]]) == [[[3.0, 4.0]]]


@pytest.mark.parametrize("rows", [1, 2, 7, 1000, 4097, 20_000])
def test_any_number_of_rows(catalogue: RunningServer, rows: int) -> None:
    assert predictions(catalogue, "half_plus_two", list(range(rows))) == [x / 2 + 3 for x in range(rows)]


def test_instances_with_names(catalogue: RunningServer) -> None:
    assert predictions(catalogue, "half_plus_two", [{"x": 2}, {"x": 4.0}]) == [4.0, 5.0]
    assert outputs(catalogue, "half_plus_two", {"x": [2, 4.0], "more": "is ignored"}) == [4.0, 5.0]


def test_nothing_in_nothing_out(catalogue: RunningServer) -> None:
    assert outputs(catalogue, "half_plus_two", []) == []


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        ("half_plus_two", None, 4.0),
        ("half_plus_two", 1, 3.0),
        ("half_plus_two", 2, 4.0),
        ("two_versions", 123, 3.0),
        ("two_versions", 124, 3.0),
        ("half_plus_three", 123, 4.0),
        ("half_plus_two_tf2", None, 3.0),
    ],
)
def test_the_version_in_the_path_or_the_highest(
    catalogue: RunningServer, model: str, version: int | None, expected: float
) -> None:
    answer = catalogue.predict(model, {"instances": [2.0]}, version)
    assert (answer.status, answer.json) == (200, {"predictions": [expected]})


@pytest.mark.parametrize("dtype", ROWS)
def test_every_type_comes_back_as_it_went(catalogue: RunningServer, dtype: str) -> None:
    rows = ROWS[dtype]
    got = predictions(catalogue, "identity", rows, signature_name=dtype)
    assert (got, json.dumps(got)) == (rows, json.dumps(rows)), "1 and 1.0 and true are not the same"
    assert outputs(catalogue, "identity", {"x": rows}, signature_name=dtype) == rows


@pytest.mark.parametrize("dtype", NOT_IN_JSON)
def test_types_that_json_cannot_carry(catalogue: RunningServer, dtype: str) -> None:
    """Row format wraps every error as a bad argument; columnar format does not."""
    rows = catalogue.predict("identity", {"signature_name": dtype, "instances": [[1, 2]]})
    columns = catalogue.predict("identity", {"signature_name": dtype, "inputs": [[1, 2]]})
    inner = f"Conversion of JSON Value: 1 to type: {dtype}"
    assert (columns.status, columns.error) == (501, inner)
    text = f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {inner}"
    assert (rows.status, rows.error) == (400, text)


@pytest.mark.parametrize(("dtype", "sent", "got"), [("int8", 300, 44), ("uint8", -1, 255), ("int16", 65537, 1)])
def test_narrow_integers_are_cut_not_refused(catalogue: RunningServer, dtype: str, sent: int, got: int) -> None:
    assert predictions(catalogue, "identity", [[sent, 0]], signature_name=dtype) == [[got, 0]]


@pytest.mark.parametrize("dtype", ["float", "double"])
def test_numbers_that_are_none(catalogue: RunningServer, dtype: str) -> None:
    body = f'{{"signature_name": "{dtype}", "instances": [[NaN, 1.5], [Infinity, -Infinity]]}}'
    answer = catalogue.predict("identity", body)
    assert answer.status == 200
    (nan, number), infinities = answer.json["predictions"]
    assert math.isnan(nan)
    assert number == 1.5
    assert infinities == [math.inf, -math.inf]


def test_a_number_too_large_for_its_type_becomes_infinite(catalogue: RunningServer) -> None:
    assert predictions(catalogue, "identity", [[1e300, -1e300]]) == [[math.inf, -math.inf]]


def test_several_inputs_by_rows_and_by_columns(catalogue: RunningServer) -> None:
    a, b = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [10, -20]
    sums = [[11.0, 12.0, 13.0], [-16.0, -15.0, -14.0]]
    rows = [{"a": row, "b": number} for row, number in zip(a, b, strict=True)]
    assert predictions(catalogue, "two_inputs", rows) == [
        {"count": number, "sum": row} for row, number in zip(sums, b, strict=True)
    ]
    assert outputs(catalogue, "two_inputs", {"b": b, "a": a}) == {"count": b, "sum": sums}


def test_text_and_bytes(catalogue: RunningServer) -> None:
    instances = ["abc", b64(b"xyz"), {"b64": ""}]
    assert predictions(catalogue, "text", instances) == [
        {"length": 3, "upper": "ABC", "upper_bytes": b64(b"ABC")},
        {"length": 3, "upper": "XYZ", "upper_bytes": b64(b"XYZ")},
        {"length": 0, "upper": "", "upper_bytes": b64(b"")},
    ]
    assert outputs(catalogue, "text", ["abc", "d"]) == {
        "length": [3, 1],
        "upper": ["ABC", "D"],
        "upper_bytes": [b64(b"ABC"), b64(b"D")],
    }


def test_bytes_of_every_value_come_back_as_they_went(catalogue: RunningServer) -> None:
    every = bytes(value for value in range(256) if not chr(value).islower() or value > 127)
    (row,) = predictions(catalogue, "text", [b64(every)])
    assert base64.b64decode(row["upper_bytes"]["b64"]) == every
    assert row["length"] == len(every)


def test_a_model_without_a_batch_dimension(catalogue: RunningServer) -> None:
    assert outputs(catalogue, "scalar", 3.0) == 6.0
    assert outputs(catalogue, "scalar", {"x": 0.1}) == pytest.approx(0.2)


def test_a_scalar_answer_has_no_rows(catalogue: RunningServer) -> None:
    answer = catalogue.predict("not_batch_major", {"inputs": [1.0, 2.0, 3.0]})
    assert answer.json == {"outputs": [6.0]}
    answer = catalogue.predict("not_batch_major", {"instances": [1.0, 2.0, 3.0]})
    assert answer.json == {"predictions": [6.0]}, "the answer's rows are not compared with the request's"


def test_a_model_without_inputs_cannot_be_asked_over_rest(catalogue: RunningServer) -> None:
    for body in ('{"inputs": {}}', '{"instances": [{}]}'):
        answer = catalogue.predict("no_inputs", body)
        assert (answer.status, answer.error) == (400, "Failed to get input map for signature: DEFAULT")


def test_a_model_for_two_rows_exactly(catalogue: RunningServer) -> None:
    assert predictions(catalogue, "fixed_batch", [[1, 2, 3], [4, 5, 6]]) == [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (17, 5)])
def test_rows_of_any_size(catalogue: RunningServer, height: int, width: int) -> None:
    image = [[[10.0 * x, 20.0 * y, 30.0] for x in range(width)] for y in range(height)]
    got = predictions(catalogue, "dynamic_image", [image, image])
    assert got == [pytest.approx([5.0 * (width - 1), 10.0 * (height - 1), 30.0])] * 2


def test_rows_that_depend_on_each_other_are_the_requests_own(catalogue: RunningServer) -> None:
    assert predictions(catalogue, "batch_dependent", [1.0, 2.0, 6.0]) == [-2.0, -1.0, 3.0]
    assert predictions(catalogue, "data_dependent", [5, 5, 7, 5]) == [5, 7]


def test_a_model_with_a_state_is_run_once_a_request_and_never_else(catalogue: RunningServer) -> None:
    counts = [predictions(catalogue, "stateful_counter", [0.0] * rows) for rows in (1, 3, 2)]
    assert counts == [[1], [2] * 3, [3] * 2], "not run before the first client's request"


def test_a_run_that_fails_answers_with_tensorflows_text(catalogue: RunningServer) -> None:
    answer = catalogue.predict("fails_on_negative", {"instances": [4.0, -1.0]})
    assert answer.status == 400
    assert "negative input" in answer.error
    assert "assert" in answer.error
    assert predictions(catalogue, "fails_on_negative", [4.0]) == [2.0]


def test_a_run_that_tensorflow_refuses(catalogue: RunningServer) -> None:
    """The rows of the two inputs can't be added."""
    answer = catalogue.predict("two_inputs", {"inputs": {"a": [[1.0, 2.0, 3.0]] * 2, "b": [1, 2, 3]}})
    assert answer.status == 400
    assert "Incompatible shapes" in answer.error
    assert predictions(catalogue, "two_inputs", [{"a": [0, 0, 0], "b": 1}]) == [{"count": 1, "sum": [1.0] * 3}]


def test_large_rows(catalogue: RunningServer) -> None:
    """Twelve mebibytes in and out."""
    answer = catalogue.predict(
        "echo_big", b'{"inputs": [[' + b",".join([b"[" + b",".join([b"[1,2,3]"] * 1024) + b"]"] * 1024) + b"]]}"
    )
    assert answer.status == 200
    ((first, *rows),) = answer.json["outputs"]
    assert first == [[2.0, 4.0, 6.0]] * 1024
    assert len(rows) == 1023
    assert all(row == first for row in rows)


@pytest.mark.parametrize(
    ("signature", "feature"), [("regress_x_to_y", 3.0), ("regress_x_to_y2", 4.0), ("classify_x_to_y", 3.0)]
)
def test_signatures_that_take_serialized_examples(catalogue: RunningServer, signature: str, feature: float) -> None:
    example = message_module("tensorflow.core.example.example_pb2").Example()
    example.features.feature["x"].float_list.value.append(2.0)
    instances = [b64(example.SerializeToString())] * 2
    assert predictions(catalogue, "default", instances, signature_name=signature) == [[feature]] * 2


def test_a_signature_of_another_name(catalogue: RunningServer) -> None:
    assert predictions(catalogue, "default", [[2.0], [4.0]], signature_name="regress_x2_to_y3") == [[4.0], [5.0]]
    assert predictions(catalogue, "default", [2.0], signature_name="") == [3.0]
