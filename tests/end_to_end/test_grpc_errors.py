"""TensorFlow Serving's codes and error texts, each as a client with its own stubs gets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.conftest import DATA, write_config
from end_to_end.edited_model import edited
from end_to_end.grpc_stubs import (
    CLASSIFY,
    REGRESS,
    Refusal,
    Stubs,
    classify_request,
    example,
    floats,
    metadata_request,
    model_spec,
    multi_request,
    predict_pb2,
    predict_request,
    regress_request,
    status_pb2,
    status_request,
    tensor,
)
from end_to_end.running_server import RunningServer

SERVED = ("two_inputs", "no_inputs", "identity", "text", "fails_on_negative", "examples")
REAL = {"default": "saved_model_half_plus_two_cpu", "tf2": "saved_model_half_plus_two_tf2_cpu"}
METHODS = "{tensorflow/serving/predict, tensorflow/serving/classify, tensorflow/serving/regress}"
X = floats(2.0)
TWO = [example(x=0.5), example(x=0.25, who=b"me", count=2)]
NO_INPUT = "No {} inputs found in SignatureDef: "
NO_CLASSES = 'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: '


def invalid(text: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", text)


def add_odd_signatures(signatures: Any) -> None:
    """Those that the exporter of the examples model does not make."""
    for name, alias, source in (("float_classes", "classes", "scores"), ("flat_classes", "classes", "flat_scores")):
        signatures[name].CopyFrom(signatures[source])
        (output,) = signatures[source].outputs.values()
        signatures[name].outputs.clear()
        signatures[name].outputs[alias].CopyFrom(output)
    for source in ("value", "scores", "serving_default"):
        signatures[f"odd_{source}"].CopyFrom(signatures[source])
        signatures[f"odd_{source}"].method_name = "tensorflow/serving/odd"
    signatures["classify"].CopyFrom(signatures["scores"])
    signatures["classify"].method_name = CLASSIFY
    signatures["regress"].CopyFrom(signatures["value"])
    signatures["regress"].method_name = REGRESS


def add_default_value(signatures: Any) -> None:
    """The input b need not be sent any more: it is 7 for each of two rows."""
    signatures["serving_default"].defaults["b"].CopyFrom(tensor("INT32", (2,), int_val=[7, 7]))


@pytest.fixture(scope="module")
def made(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("edited")
    edited(models / "examples" / "1", folder / "odd" / "1", add_odd_signatures)
    edited(models / "two_inputs" / "1", folder / "with_default" / "1", add_default_value)
    served = {name: models / name for name in SERVED} | {name: DATA / path for name, path in REAL.items()}
    return served | {name: folder / name for name in ("odd", "with_default")}


@pytest.fixture(scope="module")
def stubs(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    flag = write_config(tmp_path_factory.mktemp("config") / "models.config", made)
    with RunningServer(flag, grpc=True) as server, Stubs(server.grpc_port) as found:
        yield found


def of_inputs(sent: int, wanted: int, extra: str, missing: str, have: str, want: str) -> str:
    sizes = f"input size does not match signature: {sent}!={wanted} len({{{have}}}) != len({{{want}}})."
    return f"{sizes} Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."


def alias_text(alias: str, have: str) -> str:
    """Without the feed name, which is the exporter's choice."""
    return (
        f"Signature input alias: {alias}(feed name: *) not found in request and no default value provided. "
        f"Inputs expected to be in the request {{{have}}}, or default input alias set: "
    )


PREDICT: dict[str, tuple[Any, Refusal]] = {
    "signature": (
        predict_request("default", {"x": X}, "nope"),
        Refusal("FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
    ),
    "signature-before-inputs": (
        predict_request("default", {}, "nope"),
        Refusal("FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
    ),
    "more-inputs": (
        predict_request("default", {"x": X, "b": X, "a": X}),
        invalid(of_inputs(3, 1, "a,b", "", "a,b,x", "x")),
    ),
    "fewer-inputs": (predict_request("two_inputs", {"a": X}), invalid(of_inputs(1, 2, "", "b", "a", "a,b"))),
    "no-inputs": (predict_request("two_inputs", {}), invalid(of_inputs(0, 2, "", "a,b", "", "a,b"))),
    "inputs-for-none": (predict_request("no_inputs", {"x": X}), invalid(of_inputs(1, 0, "x", "", "x", ""))),
    "another-name": (predict_request("default", {"y": X}), invalid(alias_text("x", "y"))),
    "one-of-two-names": (predict_request("two_inputs", {"a": X, "c": X}), invalid(alias_text("b", "a,c"))),
    "no-dtype": (
        predict_request("default", {"x": tensor("INVALID", (1,), float_val=[1.0])}),
        invalid("tensor parsing error: x"),
    ),
    "negative-dimension": (
        predict_request("default", {"x": tensor("FLOAT", (-1,), float_val=[1.0])}),
        invalid("tensor parsing error: x"),
    ),
    "too-many-elements": (
        predict_request("default", {"x": tensor("FLOAT", (1 << 40, 1 << 40), float_val=[1.0])}),
        invalid("tensor parsing error: x"),
    ),
    "content-too-short": (
        predict_request("default", {"x": tensor("FLOAT", (2,), bytes(7))}),
        invalid("tensor parsing error: x"),
    ),
    "content-too-long": (
        predict_request("default", {"x": tensor("FLOAT", (2,), bytes(12))}),
        invalid("tensor parsing error: x"),
    ),
    "string-content": (
        predict_request("text", {"x": tensor("STRING", (2,), b"\x01\x05abc")}),
        invalid("tensor parsing error: x"),
    ),
    "no-such-output": (
        predict_request("two_inputs", {"a": X, "b": X}, outputs=["sum", "nope"]),
        invalid("output tensor alias not found in signature: nope Outputs expected to be in the set {count,sum}."),
    ),
    "empty-output": (
        predict_request("default", {"x": X}, outputs=[""]),
        invalid("output tensor alias not found in signature:  Outputs expected to be in the set {y}."),
    ),
    "output-twice": (
        predict_request("default", {"x": X}, outputs=["y", "y"]),
        invalid("duplicate output tensor alias: y"),
    ),
    "output-twice-and-unknown": (
        predict_request("default", {"x": X}, outputs=["y", "y", "nope"]),
        invalid("duplicate output tensor alias: y"),
    ),
    "tensor-before-output": (
        predict_request("default", {"x": tensor("INVALID", ())}, outputs=["nope"]),
        invalid("tensor parsing error: x"),
    ),
    "output-before-dtype": (
        predict_request("default", {"x": tensor("STRING", (1,), string_val=[b"a"])}, outputs=["nope"]),
        invalid("output tensor alias not found in signature: nope Outputs expected to be in the set {y}."),
    ),
    "string-for-float": (
        predict_request("default", {"x": tensor("STRING", (1,), string_val=[b"a"])}),
        invalid("Expects arg[0] to be float but string is provided"),
    ),
    "double-for-float": (
        predict_request("default", {"x": tensor("DOUBLE", (1,), double_val=[1.0])}),
        invalid("Expects arg[0] to be float but double is provided"),
    ),
    "quantised-for-float": (
        predict_request("default", {"x": tensor("QINT8", (1,), int_val=[1])}),
        invalid("Expects arg[0] to be float but qint8 is provided"),
    ),
    "second-dtype": (
        predict_request("two_inputs", {"a": floats(1.0, shape=(1, 1)), "b": X}),
        invalid("Expects arg[1] to be int32 but float is provided"),
    ),
    "float-for-string": (predict_request("text", {"x": X}), invalid("Expects arg[0] to be string but float is provided")),
    "examples-signature": (
        predict_request("default", {"inputs": X}, "regress_x_to_y"),
        invalid("Expects arg[0] to be string but float is provided"),
    ),
}


@pytest.mark.parametrize("name", PREDICT)
def test_predict(stubs: Stubs, name: str) -> None:
    request, (code, text) = PREDICT[name]
    refusal = stubs.refusal(request)
    start, star, end = text.partition("*")
    assert refusal.code == code
    assert refusal.text == text or (star and refusal.text.startswith(start) and refusal.text.endswith(end)), refusal


def test_what_the_model_says(stubs: Stubs) -> None:
    """Shapes are the graph's business: its errors are passed on."""
    for request, said in (
        (predict_request("fails_on_negative", {"x": floats(-1.0)}), "negative input"),
        (
            predict_request("two_inputs", {"a": floats(*[1.0] * 6, shape=(2, 3)), "b": tensor("INT32", (3,), int_val=[1])}),
            "",
        ),
    ):
        code, text = stubs.refusal(request)
        assert code == "INVALID_ARGUMENT"
        assert text
        assert said in text


def test_shapes_are_not_compared_with_the_signature(stubs: Stubs) -> None:
    """Which says rows of one number."""
    for shape in ((3,), (3, 1), (1, 3), (1, 1, 3), ()):
        values = [2.0] * (3 if shape else 1)
        answer = stubs.call(predict_request("default", {"x": floats(*values, shape=shape)}))
        assert [dim.size for dim in answer.outputs["y"].tensor_shape.dim] == list(shape)
        assert list(answer.outputs["y"].float_val) == [3.0] * len(values)


def test_long_texts_are_cut(stubs: Stubs) -> None:
    fits, long = "n" * (1024 - len("Servable not found for request: Latest()")), "n" * 2000
    assert stubs.refusal(predict_request(fits, {})).text == f"Servable not found for request: Latest({fits})"
    for request in (
        predict_request(fits + "n", {}),
        predict_request(long, {}),
        classify_request(long, "", *TWO),
        metadata_request(long, "signature_def"),
    ):
        code, text = stubs.refusal(request)
        whole = f"Servable not found for request: Latest({request.model_spec.name})"
        assert (code, text) == ("NOT_FOUND", f"{whole[:1024]}...TRUNCATED")
    text = stubs.refusal(status_request(long)).text
    assert text == f"{f'Could not find any versions of model {long}'[:1024]}...TRUNCATED"


def test_default_values_of_inputs(stubs: Stubs) -> None:
    """An input that the signature has a value for need not be sent."""
    a = floats(*[1.0] * 6, shape=(2, 3))
    answer = stubs.call(predict_request("with_default", {"a": a}))
    assert list(answer.outputs["sum"].float_val) == [8.0] * 6
    assert list(answer.outputs["count"].int64_val) == [7, 7]
    given = predict_request("with_default", {"a": a, "b": tensor("INT32", (2,), int_val=[1, 2])})
    assert list(stubs.call(given).outputs["count"].int64_val) == [1, 2]


def test_inputs_beside_default_values(stubs: Stubs) -> None:
    a, b = floats(*[1.0] * 6, shape=(2, 3)), tensor("INT32", (2,), int_val=[1, 2])
    code, text = stubs.refusal(predict_request("with_default", {"b": b}))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Signature input alias: a(feed name: ")
    assert text.endswith("Inputs expected to be in the request {b}, or default input alias set: b")
    code, text = stubs.refusal(predict_request("with_default", {"a": a, "c": b}))
    assert (code, text.split(" Used")[0]) == ("INVALID_ARGUMENT", "Inputs contains invalid name.")


def test_the_signature_that_sets_a_model_up(stubs: Stubs) -> None:
    """It is listed with the others, and has no tensor to be fetched: whatever comes of it, the server goes on."""
    code, _ = stubs.refusal(predict_request("tf2", {}, "__saved_model_init_op"))
    assert code in {"INVALID_ARGUMENT", "OUT_OF_RANGE"}  # TensorFlow's libraries have a code each
    assert stubs.call(predict_request("tf2", {"x": X})).outputs["y"].float_val == [3.0]


CLASSIFIES: dict[tuple[str, str], str] = {
    ("examples", "nope"): "No signature was found with the name: nope",
    ("examples", "three"): "Expected one or two output Tensors, found 3",
    ("examples", "neither"): f"{NO_CLASSES}*",
    ("examples", "flat_scores"): "Expected Tensor shape: [batch_size num_classes] but got [2]",
    ("examples", "double_scores"): "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ("examples", "one_score"): "Expected scores output batch size of 2. Got: 1",
    ("examples", "uneven"): "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
    ("odd", "float_classes"): "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
    ("odd", "flat_classes"): "Expected Tensor shape: [batch_size num_classes] but got [2]",
    ("default", ""): f"{NO_INPUT.format('classification')}*",
    ("default", "nope"): "No signature was found with the name: nope",
    ("two_inputs", ""): "Expected one input Tensor.",
    ("no_inputs", ""): "Expected one input Tensor.",
    ("default", "regress_x_to_y"): f"{NO_CLASSES}*",
    ("tf2", "__saved_model_init_op"): "Expected one input Tensor.",
}
REGRESSES: dict[tuple[str, str], str] = {
    ("examples", "nope"): "No signature was found with the name: nope",
    ("examples", "three"): "Expected one output Tensor.",
    ("examples", "scores"): "No regression outputs found in SignatureDef: *",
    ("examples", "wide_value"): "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
    ("examples", "whole_value"): "Expected output Tensor of DT_FLOAT.  Got: DT_INT64",
    ("examples", "one_value"): "Input batch size did not match output batch size: 2 vs. 1",
    ("default", ""): f"{NO_INPUT.format('regression')}*",
    ("two_inputs", ""): "Expected one input Tensor.",
    ("no_inputs", ""): "Expected one input Tensor.",
    ("default", "regress_x2_to_y3"): "Expects arg[0] to be float but string is provided",
}
#: Of MultiInference, whose words for an unknown signature are others.
UNKNOWN = "Requested signature not found in model graph: nope"


def fits(text: str, expected: str) -> bool:
    """`expected` may end in a star: what follows is a dump of the signature."""
    return text == expected or (expected.endswith("*") and text.startswith(expected[:-1]) and "{\n" in text)


@pytest.mark.parametrize(("model", "signature"), CLASSIFIES)
def test_signatures_that_do_not_classify(stubs: Stubs, model: str, signature: str) -> None:
    expected = CLASSIFIES[model, signature]
    code, text = stubs.refusal(classify_request(model, signature, *TWO))
    assert (code, fits(text, expected)) == ("INVALID_ARGUMENT", True), text
    task = (model_spec(model, None, signature), CLASSIFY)
    code, text = stubs.refusal(multi_request(task, examples=TWO))
    assert (code, fits(text, UNKNOWN if signature == "nope" else expected)) == ("INVALID_ARGUMENT", True), text


@pytest.mark.parametrize(("model", "signature"), REGRESSES)
def test_signatures_that_do_not_regress(stubs: Stubs, model: str, signature: str) -> None:
    expected = REGRESSES[model, signature]
    code, text = stubs.refusal(regress_request(model, signature, *TWO))
    assert (code, fits(text, expected)) == ("INVALID_ARGUMENT", True), text
    task = (model_spec(model, None, signature), REGRESS)
    code, text = stubs.refusal(multi_request(task, examples=TWO))
    assert (code, fits(text, UNKNOWN if signature == "nope" else expected)) == ("INVALID_ARGUMENT", True), text


def test_a_dump_of_a_signature(stubs: Stubs) -> None:
    text = stubs.refusal(classify_request("default", "", *TWO)).text
    assert text == (
        "No classification inputs found in SignatureDef: "
        'inputs {\n  key: "x"\n  value {\n    name: "x:0"\n    dtype: DT_FLOAT\n    tensor_shape {\n'
        "      dim {\n        size: -1\n      }\n      dim {\n        size: 1\n      }\n    }\n  }\n}\n"
        'outputs {\n  key: "y"\n  value {\n    name: "y:0"\n    dtype: DT_FLOAT\n    tensor_shape {\n'
        "      dim {\n        size: -1\n      }\n      dim {\n        size: 1\n      }\n    }\n  }\n}\n"
        'method_name: "tensorflow/serving/predict"\n'
    )


def asking(signature: str, *examples: Any, context: Any = None) -> Iterator[Any]:
    yield classify_request("examples", signature, *examples, context=context)
    if signature == "value":
        yield regress_request("examples", signature, *examples, context=context)
    method = REGRESS if signature == "value" else CLASSIFY
    yield multi_request((model_spec("examples", None, signature), method), examples=examples, context=context)


def test_no_examples(stubs: Stubs) -> None:
    for signature, make, method in (("scores", classify_request, CLASSIFY), ("value", regress_request, REGRESS)):
        single, multi = make("examples", signature), multi_request((model_spec("examples", None, signature), method))
        for request in (single, multi):
            assert stubs.refusal(request) == invalid("Input is empty."), "an empty list"
            request.input.Clear()
            assert stubs.refusal(request) == invalid("Input is empty."), "no list"
            request.ClearField("input")
            assert stubs.refusal(request) == invalid("Input is empty."), "no input"
            request.input.example_list_with_context.context.CopyFrom(TWO[0])
            assert stubs.refusal(request) == invalid("Input is empty."), "a context alone"


def test_the_signature_comes_before_the_examples(stubs: Stubs) -> None:
    assert stubs.refusal(classify_request("examples", "nope")).text == "No signature was found with the name: nope"
    assert stubs.refusal(regress_request("default", "")).text.startswith("No regression inputs found")
    task = (model_spec("examples", None, "nope"), CLASSIFY)
    assert stubs.refusal(multi_request(task)).text == "Requested signature not found in model graph: nope"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (example(x=2), "Data types don't match. Data type: int64 but expected type: float"),
        (example(x=b"2"), "Data types don't match. Data type: string but expected type: float"),
        (example(), "Feature: x (data type: float) is required but could not be found."),
        (example(x=[1.0, 2.0]), "Number of float values != expected."),
        (example(x=1.0, count=1.0), "Data types don't match. Data type: float but expected type: int64"),
    ],
)
def test_examples_that_do_not_fit_the_model(stubs: Stubs, sent: Any, said: str) -> None:
    for make, signature, method in ((classify_request, "scores", CLASSIFY), (regress_request, "value", REGRESS)):
        for request in (
            make("examples", signature, TWO[0], sent),
            multi_request((model_spec("examples", None, signature), method), examples=[TWO[0], sent]),
        ):
            code, text = stubs.refusal(request)
            assert (code, said in text) == ("INVALID_ARGUMENT", True), text


def tasks(*named: tuple[str, str, str]) -> Any:
    """Model, signature and method each."""
    return multi_request(*((model_spec(model, None, name), method) for model, name, method in named), examples=TWO)


MULTI = {
    "no-tasks": (multi_request(examples=TWO), invalid("ModelSpec has no name specified.")),
    "first-without-name": (tasks(("", "value", REGRESS)), invalid("ModelSpec has no name specified.")),
    "second-without-name": (
        tasks(("examples", "value", REGRESS), ("", "scores", CLASSIFY)),
        invalid("Found ModelSpec with an empty model name."),
    ),
    "two-models": (
        tasks(("examples", "value", REGRESS), ("default", "classify_x_to_y", CLASSIFY)),
        invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    ),
    "signature-twice": (
        tasks(("examples", "value", REGRESS), ("examples", "value", CLASSIFY)),
        invalid("Duplicate evaluation of signature: value"),
    ),
    "default-twice": (
        tasks(("examples", "", CLASSIFY), ("examples", "serving_default", CLASSIFY)),
        invalid("Duplicate evaluation of signature: serving_default"),
    ),
    "unknown-signature": (
        tasks(("examples", "value", REGRESS), ("examples", "nope", REGRESS)),
        invalid("Requested signature not found in model graph: nope"),
    ),
    "predict": (
        tasks(("examples", "value", "tensorflow/serving/predict")),
        Refusal("UNIMPLEMENTED", "Unsupported signature method_name: tensorflow/serving/predict"),
    ),
    "no-method": (
        tasks(("examples", "value", REGRESS), ("examples", "scores", "")),
        Refusal("UNIMPLEMENTED", "Unsupported signature method_name: "),
    ),
    "short-method": (
        tasks(("examples", "value", "regress")),
        Refusal("UNIMPLEMENTED", "Unsupported signature method_name: regress"),
    ),
    "unknown-model": (
        tasks(("nope", "value", REGRESS)),
        Refusal("NOT_FOUND", "Servable not found for request: Latest(nope)"),
    ),
    "bad-second-task": (
        tasks(("examples", "value", REGRESS), ("examples", "double_scores", CLASSIFY)),
        invalid("Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
    ),
    "signature-before-method": (
        tasks(("examples", "nope", "nope")),
        invalid("Requested signature not found in model graph: nope"),
    ),
}


@pytest.mark.parametrize("name", MULTI)
def test_multi_inference(stubs: Stubs, name: str) -> None:
    request, expected = MULTI[name]
    assert stubs.refusal(request) == expected


FIELDS = "GetModelMetadataRequest must specify at least one metadata_field"
LOOKUPS = {
    "no-field": (metadata_request("default"), invalid(FIELDS)),
    "no-field-of-an-unknown-model": (metadata_request("nope"), invalid(FIELDS)),
    "no-field-of-no-model": (metadata_request(""), invalid(FIELDS)),
    "another-field": (metadata_request("default", "nope"), invalid("Metadata field nope is not supported")),
    "a-second-field": (
        metadata_request("nope", "signature_def", "graph"),
        invalid("Metadata field graph is not supported"),
    ),
    "no-name": (metadata_request("", "signature_def"), invalid("ModelSpec has no name specified.")),
    "status-of-none": (
        status_pb2.GetModelStatusRequest(),
        invalid("Missing ModelSpec"),
    ),
    "status-without-name": (status_request(""), Refusal("NOT_FOUND", "Could not find any versions of model ")),
    "status-of-an-unknown-model": (
        status_request("nope"),
        Refusal("NOT_FOUND", "Could not find any versions of model nope"),
    ),
    "status-by-label": (status_request("nope", "a"), Refusal("NOT_FOUND", "Could not find any versions of model nope")),
    "status-of-an-unknown-version": (
        status_request("default", 7),
        Refusal("NOT_FOUND", "Could not find version 7 of model default"),
    ),
    "status-of-version-0": (status_request("nope", 0), Refusal("NOT_FOUND", "Could not find version 0 of model nope")),
    "status-of-version--1": (status_request("nope", -1), Refusal("NOT_FOUND", "Could not find version -1 of model nope")),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_metadata_and_status(stubs: Stubs, name: str) -> None:
    request, expected = LOOKUPS[name]
    assert stubs.refusal(request) == expected


@pytest.mark.parametrize(
    "method",
    [
        "PredictStreamed",
        "predict",
        "/tensorflow.serving.SessionService/SessionRun",
        "/tensorflow.serving.ModelService/Predict",
        "/nope/Predict",
    ],
)
def test_methods_that_there_are_not(stubs: Stubs, method: str) -> None:
    received = stubs.send(method, predict_request("default", {"x": X}).SerializeToString())
    assert isinstance(received, Refusal)
    assert received.code == "UNIMPLEMENTED"


@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"])
@pytest.mark.parametrize(
    "message",
    [b"\xff", b"\x0a\x7f", b"\x0a\x02\x0a\x05", b"\x00" * 9, b"\xff" * 50],
    ids=["tag", "length", "inner", "zeros", "ones"],
)
def test_bytes_that_are_no_message(stubs: Stubs, method: str, message: bytes) -> None:
    received = stubs.send(method, message)
    assert isinstance(received, Refusal)
    assert received.code == "INVALID_ARGUMENT"
    assert received.text


def test_no_bytes_at_all(stubs: Stubs) -> None:
    """They are a message without fields."""
    assert stubs.send("Predict", b"") == invalid("Missing ModelSpec")
    assert stubs.send("MultiInference", b"") == invalid("ModelSpec has no name specified.")
    assert stubs.send("/tensorflow.serving.ModelService/GetModelStatus", b"") == invalid("Missing ModelSpec")


@pytest.fixture(scope="module")
def strict(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    """Of a server that looks at method names."""
    names = ("default", "tf2", "odd")
    flag = write_config(tmp_path_factory.mktemp("config") / "models.config", {name: made[name] for name in names})
    check = "--enable_signature_method_name_check"
    with RunningServer(flag, check, grpc=True) as server, Stubs(server.grpc_port) as found:
        yield found


def test_method_names_that_are_checked(strict: Stubs) -> None:
    inputs = {"inputs": tensor("STRING", (1,), string_val=[TWO[0].SerializeToString()])}
    text = f"Expected prediction signature method_name to be one of {METHODS}. Was: "
    odd = strict.refusal(predict_request("odd", inputs, "odd_value"))
    assert odd == Refusal("INTERNAL", f"{text}tensorflow/serving/odd")
    assert strict.refusal(predict_request("tf2", {}, "__saved_model_init_op")) == Refusal("INTERNAL", text)
    classification, regression = (
        f"Expected {kind} signature method_name to be " for kind in ("classification", "regression")
    )
    was_predict, was_odd = "Was: tensorflow/serving/predict", "Was: tensorflow/serving/odd"
    refused = {
        (classify_request, CLASSIFY, classification, CLASSIFY): [
            ("tf2", "classify_x_to_y", was_predict),
            ("odd", "odd_scores", was_odd),
            ("odd", "scores", was_predict),
            ("odd", "regress", f"Was: {REGRESS}"),
            ("default", "", was_predict),
        ],
        (regress_request, REGRESS, regression, REGRESS): [
            ("tf2", "regress_x_to_y", was_predict),
            ("odd", "odd_value", was_odd),
            ("odd", "classify", f"Was: {CLASSIFY}"),
            ("default", "", was_predict),
        ],
    }
    for (make, method, start, wanted), cases in refused.items():
        for model, signature, was in cases:
            expected = invalid(f"{start}{wanted}. {was}")
            assert strict.refusal(make(model, signature, *TWO)) == expected
            task = (model_spec(model, None, signature), method)
            assert strict.refusal(multi_request(task, examples=TWO)) == expected


def test_method_names_that_are_right(strict: Stubs) -> None:
    assert strict.call(predict_request("default", {"x": X})).outputs["y"].float_val == [3.0]
    assert strict.call(predict_request("tf2", {"x": X})).outputs["y"].float_val == [3.0]
    inputs = {"inputs": tensor("STRING", (1,), string_val=[TWO[0].SerializeToString()])}
    assert strict.call(predict_request("odd", inputs, "regress")).outputs["outputs"].float_val == [0.5]
    assert strict.call(predict_request("odd", inputs, "classify")).outputs["scores"].float_val == [0.5, 0.5]
    assert len(strict.call(classify_request("default", "classify_x_to_y", example(x=2.0))).result.classifications) == 1
    assert len(strict.call(regress_request("default", "regress_x_to_y", example(x=2.0))).result.regressions) == 1
    assert len(strict.call(classify_request("odd", "classify", *TWO)).result.classifications) == 2
    both = (model_spec("odd", None, "regress"), REGRESS), (model_spec("odd", None, "classify"), CLASSIFY)
    assert len(strict.call(multi_request(*both, examples=TWO)).results) == 2


def test_what_is_not_a_predict_request_of_the_right_shape(stubs: Stubs) -> None:
    """Empty map entries and fields of a later version are no fault of their own."""
    request = predict_request("default", {"x": X})
    unknown = b"\xf8\x3e\x07"  # field 1007, a number
    received = stubs.send("Predict", request.SerializeToString() + unknown)
    assert isinstance(received, bytes)
    assert predict_pb2.PredictResponse.FromString(received).outputs["y"].float_val == [3.0]
