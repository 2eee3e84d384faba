"""TensorFlow Serving's error texts, each as a client gets it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from end_to_end.running_server import RunningServer

IN_ROW = "Failed to process element: "
WRAPPED = " of 'instances' list. Error: INVALID_ARGUMENT: "
NEEDS_OBJECTS = "as multiple input tensors required as per tensorinfo_map"


def refused(server: RunningServer, path: str, body: Any) -> tuple[int, str]:
    answer = server.ask("POST", f"/v1/models/{path}", body if isinstance(body, bytes | str) else json.dumps(body))
    return answer.status, answer.error


@pytest.mark.parametrize(
    ("body", "text", "offset"),
    [
        (b"", "The document is empty", None),
        (b" \n\t", "The document is empty.", 3),
        (b"]", "The document is empty.", 0),
        (b"nope", "Invalid value.", None),
        (b'{"a": nan}', "Invalid value.", None),
        (b'{"a": +1}', "Invalid value.", None),
        (b"{a: 1}", "Missing a name for object member.", 1),
        (b'{"a": 1,}', "Missing a name for object member.", 8),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a": 1 "b": 2}', "Missing a comma or '}' after an object member.", 8),
        (b'{"a": [1 2]}', "Missing a comma or ']' after an array element.", 9),
        (rb'{"a": "\u12g4"}', "Incorrect hex digit after \\u escape in string.", None),
        (rb'{"a": "\ud800x"}', "The surrogate pair in string is invalid.", None),
        (rb'{"a": "\x"}', "Invalid escape character in string.", None),
        (b'{"a": "\n"}', "Invalid escape character in string.", None),
        (b'{"a": "b', "Missing a closing quotation mark in string.", None),
        (b'{"a": 1e309}', "Number too big to be stored in double.", None),
        (b'{"a": 1.}', "Miss fraction part in number.", None),
        (b'{"a": 1e}', "Miss exponent in number.", None),
        (b"'a'", "Invalid value.", 0),
    ],
)
def test_what_is_no_json(catalogue: RunningServer, body: bytes, text: str, offset: int | None) -> None:
    for verb in ("predict", "classify", "regress"):
        status, error = refused(catalogue, f"nope:{verb}", body)
        head, _, at = error.partition(" at offset: ")
        assert (status, head) == (400, f"JSON Parse error: {text}")
        assert at.isdigit() == (text != "The document is empty")
        assert offset is None or int(at) == offset


@pytest.mark.parametrize(
    ("model", "body", "start", "end"),
    [
        ("default", "[1]", "JSON Value: ", " Is not object"),
        (
            "default",
            {"signature_name": 1, "instances": [1]},
            "JSON Value: ",
            " not formatted correctly. 'signature_name' key must be a string value.",
        ),
        ("no_inputs", {"instances": [1]}, "Failed to get input map for signature: DEFAULT", ""),
        (
            "no_inputs",
            {"signature_name": "serving_default", "inputs": {}},
            "Failed to get input map for signature: serving_default",
            "",
        ),
        (
            "default",
            {"instances": [1], "inputs": [1]},
            "JSON Value: ",
            " Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        ("default", {}, "Missing 'inputs' or 'instances' key", ""),
        ("default", {"instances": 1}, "JSON Value: ", " Expecting 'instances' to be an list/array"),
        ("default", {"instances": []}, "JSON Value: ", " No values in 'instances' array"),
        ("two_inputs", {"instances": [1]}, f"instances is a plain list, but expecting list of objects {NEEDS_OBJECTS}", ""),
        ("two_inputs", {"inputs": [1]}, f"inputs is a plain value/list, but expecting an object {NEEDS_OBJECTS}", ""),
        ("default", {"instances": [{"x": 1}, [2]]}, "Expecting object but got list at item 1 of input list", ""),
        ("default", {"instances": [{"x": 1}, 2]}, "Expecting object but got list at item 1 of input list", ""),
        ("default", {"instances": [1, {"x": 2}]}, "Expecting value/list but got object at item 1 of input list", ""),
        (
            "default",
            {"instances": [{"x": 1}, {"z": 2}]},
            f"{IN_ROW}1 key: z{WRAPPED}JSON object: does not have named input: z",
            "",
        ),
        (
            "two_inputs",
            {"instances": [{"a": [1, 2, 3], "b": 1}, {"a": [1, 2, 3]}]},
            f"{IN_ROW}1 of 'instances' list. JSON object: ",
            " keys must be equal to: a,b",
        ),
        ("two_inputs", {"inputs": {"a": [[1, 2, 3]]}}, "Missing named input: b in 'inputs' object.", ""),
        ("default", {"instances": [[1, 2], [3]]}, f"{IN_ROW}1{WRAPPED}Expecting tensor size: 2 but got: 1", ""),
        ("default", {"instances": [1, [1]]}, f"{IN_ROW}1{WRAPPED}Expecting shape ", ""),
        ("default", {"instances": [[1, 2], [[1, 2]]]}, f"{IN_ROW}1{WRAPPED}Expecting shape [2] but got: [1,2]", ""),
        (
            "default",
            {"inputs": [[1, 2], [3]]},
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
            "",
        ),
        ("default", {"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1", ""),
        (
            "default",
            {"inputs": [[1], 2]},
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
            "",
        ),
        ("default", {"inputs": "one"}, 'JSON Value: "one" Type: String is not of expected type: float', ""),
        ("default", {"inputs": None}, "JSON Value: null Type: Null is not of expected type: float", ""),
        ("default", {"inputs": [True]}, "JSON Value: true Type: True is not of expected type: float", ""),
        ("default", {"inputs": [{"b64": "YQ=="}]}, "JSON Value: ", " Type: Object is not of expected type: float"),
        ("default", {"instances": ["one"]}, f'{IN_ROW}0{WRAPPED}JSON Value: "one" Type: String', " expected type: float"),
        (
            "default",
            {"instances": [{"x": False}]},
            f"{IN_ROW}0 key: x{WRAPPED}JSON Value: false Type: False is not of expected type: float",
            "",
        ),
        (
            "two_inputs",
            {"inputs": {"a": [[1, 2, 3]], "b": [1.0]}},
            "JSON Value: 1.0 Type: Number is not of expected type: int32",
            "",
        ),
        ("text", {"inputs": [1]}, "JSON Value: 1 Type: Number is not of expected type: string", ""),
        ("text", {"inputs": [{"b65": "YQ=="}]}, "JSON Value: ", " not formatted correctly for base64 data"),
        ("text", {"inputs": [{"b64": "-_-_"}]}, "Unable to base64 decode", ""),
        ("text", {"instances": [{"b64": "YQ="}]}, f"{IN_ROW}0{WRAPPED}Unable to base64 decode", ""),
        (
            "default",
            {"signature_name": "nope", "instances": [1]},
            'Serving signature name: "nope" not found in signature def',
            "",
        ),
    ],
)
def test_predict_bodies(catalogue: RunningServer, model: str, body: Any, start: str, end: str) -> None:
    status, error = refused(catalogue, f"{model}:predict", body)
    assert (status, error[: len(start)], error[len(error) - len(end) :]) == (400, start, end), error
    assert end or error == start or "shape" in start


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64"])
def test_inputs_that_json_has_no_type_for(catalogue: RunningServer, dtype: str) -> None:
    inner = f"Conversion of JSON Value: 1 to type: {dtype}"
    assert refused(catalogue, "identity:predict", {"signature_name": dtype, "inputs": [[1, 2]]}) == (501, inner)
    rows = refused(catalogue, "identity:predict", {"signature_name": dtype, "instances": [[1, 2]]})
    assert rows == (400, f"{IN_ROW}0 of 'instances' list. Error: UNIMPLEMENTED: {inner}")


@pytest.mark.parametrize("key", ["inputs", "instances"])
@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64"])
def test_outputs_that_json_has_no_type_for(catalogue: RunningServer, dtype: str, key: str) -> None:
    text = f"Failed to write JSON value for tensor type: {dtype}"
    assert refused(catalogue, "unwritable:predict", {"signature_name": dtype, key: [1.0]}) == (400, text)


def test_outputs_that_are_no_rows(catalogue: RunningServer) -> None:
    scalar = {"signature_name": "partly_scalar", "instances": [1, 2]}
    assert refused(catalogue, "unwritable:predict", scalar) == (400, "Tensor name: sum has no shape information ")
    status, text = refused(catalogue, "unwritable:predict", {"signature_name": "uneven", "instances": [1, 2, 3]})
    assert status == 400
    assert text in {
        "Tensor name: first has inconsistent batch size: 1 expecting: 3",
        "Tensor name: all has inconsistent batch size: 3 expecting: 1",
    }


def test_outputs_that_are_no_rows_have_columns(catalogue: RunningServer) -> None:
    for name, expected in {
        "partly_scalar": {"sum": 6.0, "all": [1.0, 2.0, 3.0]},
        "uneven": {"first": [1.0], "all": [1.0, 2.0, 3.0]},
    }.items():
        answer = catalogue.predict("unwritable", {"signature_name": name, "inputs": [1, 2, 3]})
        assert (answer.status, answer.json) == (200, {"outputs": expected})


@pytest.mark.parametrize("verb", ["classify", "regress"])
@pytest.mark.parametrize(
    ("body", "start", "end"),
    [
        ({}, "JSON Value: ", " When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {"x": 1.0}}, "JSON Value: ", " Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "JSON Value: ", " 'examples' value is an empty array"),
        ({"examples": [1.0]}, "Example must be JSON object but got JSON Number", ""),
        ({"examples": [{}], "context": [1.0]}, "Example must be JSON object but got JSON Array", ""),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null", ""),
        ({"examples": [{"x": [[1.0]]}]}, "Feature: x has element with unexpected JSON type: Array", ""),
        ({"examples": [{"x": {"y": 1.0}}]}, "Feature: x has element with unexpected JSON type: Object", ""),
        ({"examples": [{"x": 1 << 63}]}, "Feature: x has uint64_t element. Only int64_t is supported.", ""),
        ({"examples": [{"x": [1.0, 2]}]}, "Unexpected element type in feature: x expecting type: float", ""),
        ({"examples": [{"x": [1, 2.0]}]}, "Unexpected element type in feature: x expecting type: int64", ""),
        ({"examples": [{"x": ["a", True]}]}, "Unexpected element type in feature: x expecting type: bytes", ""),
    ],
)
def test_example_bodies_before_any_model_is_looked_up(
    catalogue: RunningServer, verb: str, body: Any, start: str, end: str
) -> None:
    for model in ("examples", "nope"):
        status, error = refused(catalogue, f"{model}:{verb}", body)
        assert (status, error[: len(start)], error[len(error) - len(end) :]) == (400, start, end), error


def of_signature(name: str, *examples: Any) -> dict[str, Any]:
    return {"signature_name": name, "examples": list(examples or ({"x": 0.5}, {"x": 0.25, "who": "me", "count": 2}))}


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("", [[["nobody", 0.5], ["NOBODY", 0.5]], [["me", 0.25], ["ME", 0.75]]]),
        ("classes", [[["nobody", 0.0], ["NOBODY", 0.0]], [["me", 0.0], ["ME", 0.0]]]),
        ("scores", [[["", 0.5], ["", 0.5]], [["", 0.25], ["", 0.75]]]),
    ],
)
def test_classes(catalogue: RunningServer, signature: str, expected: Any) -> None:
    answer = catalogue.ask("POST", "/v1/models/examples:classify", of_signature(signature))
    assert (answer.status, answer.json) == (200, {"results": expected})


@pytest.mark.parametrize(("signature", "expected"), [("value", [0.5, 0.25]), ("flat_value", [0.5, 2.25])])
def test_values(catalogue: RunningServer, signature: str, expected: Any) -> None:
    answer = catalogue.ask("POST", "/v1/models/examples:regress", of_signature(signature))
    assert (answer.status, answer.json) == (200, {"results": expected})


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("nope", "No signature was found with the name: nope"),
        ("three", "Expected one or two output Tensors, found 3"),
        (
            "neither",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: ',
        ),
        ("flat_scores", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("double_scores", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("one_score", "Expected scores output batch size of 2. Got: 1"),
        ("uneven", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
    ],
)
def test_signatures_that_do_not_classify(catalogue: RunningServer, signature: str, text: str) -> None:
    status, error = refused(catalogue, "examples:classify", of_signature(signature))
    assert (status, error[: len(text)]) == (400, text)
    assert error == text or text.endswith(": ")


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("nope", "No signature was found with the name: nope"),
        ("three", "Expected one output Tensor."),
        ("scores", "No regression outputs found in SignatureDef: "),
        ("wide_value", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        ("whole_value", "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
        ("one_value", "Input batch size did not match output batch size: 2 vs. 1"),
    ],
)
def test_signatures_that_do_not_regress(catalogue: RunningServer, signature: str, text: str) -> None:
    status, error = refused(catalogue, "examples:regress", of_signature(signature))
    assert (status, error[: len(text)]) == (400, text)
    assert error == text or text.endswith(": ")


@pytest.mark.parametrize(
    ("verb", "path", "text"),
    [
        ("classify", "default", "No classification inputs found in SignatureDef: "),
        ("regress", "default", "No regression inputs found in SignatureDef: "),
        ("classify", "two_inputs", "Expected one input Tensor."),
        ("regress", "two_inputs", "Expected one input Tensor."),
        ("classify", "no_inputs", "Expected one input Tensor."),
    ],
)
def test_models_that_take_no_examples(catalogue: RunningServer, verb: str, path: str, text: str) -> None:
    status, error = refused(catalogue, f"{path}:{verb}", {"examples": [{"x": 2.0}]})
    assert (status, error[: len(text)]) == (400, text)


@pytest.mark.parametrize(
    ("example", "text"),
    [
        ({"x": 2}, "Data types don't match. Data type: int64 but expected type: float"),
        ({"x": "2"}, "expected type: float"),
        ({}, "Feature: x (data type: float) is required but could not be found."),
        ({"x": []}, ""),
        ({"x": [1.0, 2.0]}, "Number of float values != expected."),
    ],
)
def test_examples_that_do_not_fit_the_model(catalogue: RunningServer, example: Any, text: str) -> None:
    for verb in ("classify", "regress"):
        signature = "value" if verb == "regress" else ""
        status, error = refused(catalogue, f"examples:{verb}", of_signature(signature, example))
        assert status == 400
        assert text in error
        assert error


def test_an_input_that_takes_no_strings(catalogue: RunningServer) -> None:
    """Its name is right, its type is not."""
    body = {"signature_name": "regress_x2_to_y3", "examples": [{"x2": 2.0}]}
    assert refused(catalogue, "default:regress", body) == (400, "Expects arg[0] to be float but string is provided")


def test_wrong_data_for_an_unknown_model(catalogue: RunningServer) -> None:
    """JSON and its signature's name come before the model, its values behind it; examples as a whole come before."""
    assert refused(catalogue, "nope:predict", "{") != refused(catalogue, "nope:predict", {})
    assert refused(catalogue, "nope:predict", {"signature_name": 3})[0] == 400
    assert refused(catalogue, "nope:predict", {"signature_name": "nope", "instances": ["a"]})[0] == 404
    assert refused(catalogue, "nope:predict", {})[0] == 404
    assert refused(catalogue, "default:predict", {"signature_name": "nope"})[1].startswith("Serving signature name")
    assert refused(catalogue, "nope:classify", {"examples": [{"x": 1.0}]})[0] == 404
