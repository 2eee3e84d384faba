"""The metadata document as a whole, and what it says of versions, defaults and other exports."""

from __future__ import annotations

from typing import Any

from end_to_end.running_server import RunningServer


def tensor(name: str, dtype: str = "DT_FLOAT") -> dict[str, Any]:
    """Of shape [-1, 1], as all of half_plus_two are that take no examples."""
    dims = [{"size": "-1", "name": ""}, {"size": "1", "name": ""}]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}


def signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": inputs, "outputs": outputs, "method_name": f"tensorflow/serving/{method}", "defaults": {}}


EXAMPLES = {
    "inputs": {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": True}, "name": "tf_example:0"},
}
HALF_PLUS_TWO = {
    "serving_default": signature("predict", {"x": tensor("x:0")}, {"y": tensor("y:0")}),
    "regress_x_to_y": signature("regress", EXAMPLES, {"outputs": tensor("y:0")}),
    "regress_x_to_y2": signature("regress", EXAMPLES, {"outputs": tensor("y2:0")}),
    "regress_x2_to_y3": signature("regress", {"inputs": tensor("x2:0")}, {"outputs": tensor("y3:0")}),
    "classify_x_to_y": signature("classify", EXAMPLES, {"scores": tensor("y:0")}),
}


def metadata(server: RunningServer, path: str) -> Any:
    answer = server.get(f"/v1/models/{path}/metadata")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json


def test_the_whole_document(catalogue: RunningServer) -> None:
    assert metadata(catalogue, "default") == {
        "model_spec": {"name": "default", "signature_name": "", "version": "123"},
        "metadata": {"signature_def": {"signature_def": HALF_PLUS_TWO}},
    }


def test_of_a_version(catalogue: RunningServer) -> None:
    for version in ("123", "124"):
        assert metadata(catalogue, f"two_versions/versions/{version}")["model_spec"] == {
            "name": "two_versions",
            "signature_name": "",
            "version": version,
        }


def test_of_an_export_of_tf2(catalogue: RunningServer) -> None:
    signatures = metadata(catalogue, "half_plus_two_tf2")["metadata"]["signature_def"]["signature_def"]
    assert {*HALF_PLUS_TWO, "classify_x2_to_y3"} <= set(signatures)
    assert {entry["method_name"] for name, entry in signatures.items() if name != "__saved_model_init_op"} == {
        "tensorflow/serving/predict"
    }


def test_of_every_dtype_and_rank(catalogue: RunningServer) -> None:
    signatures = metadata(catalogue, "identity")["metadata"]["signature_def"]["signature_def"]
    wire = {name: entry["inputs"]["x"]["dtype"] for name, entry in signatures.items() if "x" in entry["inputs"]}
    assert wire == {name: "DT_FLOAT" if name == "serving_default" else f"DT_{name.upper()}" for name in wire}
    assert len(wire) == 17
    (scalar,) = metadata(catalogue, "scalar")["metadata"]["signature_def"]["signature_def"]["serving_default"][
        "inputs"
    ].values()
    assert scalar["tensor_shape"] == {"dim": [], "unknown_rank": False}


def test_of_a_signature_without_inputs(catalogue: RunningServer) -> None:
    entry = metadata(catalogue, "no_inputs")["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert entry["inputs"] == {}
    assert set(entry) == {"inputs", "outputs", "method_name", "defaults"}
