"""Bodies of the status and metadata routes: exact objects."""

from __future__ import annotations

import json
from typing import Any

from made_signatures import signature, spec

from frontend.catalog import Version, VersionStatus
from frontend.rest.status import metadata_body, status_body
from ringserve.errors import Code
from ringserve.servable import ServableId, State


def status(*versions: VersionStatus) -> Any:
    body = status_body(versions)
    assert body.endswith(b"}\n")
    return json.loads(body)


def test_status_of_one_version() -> None:
    assert status(VersionStatus(123, State.AVAILABLE, Code.OK, "")) == {
        "model_version_status": [
            {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
        ]
    }


def test_status_keeps_the_order_and_shows_errors() -> None:
    text = 'line one\nsaid "no": é'
    found = status(
        VersionStatus((1 << 63) - 1, State.LOADING, Code.OK, ""),
        VersionStatus(2, State.END, Code.RESOURCE_EXHAUSTED, text),
        VersionStatus(1, State.UNLOADING, Code.OK, ""),
        VersionStatus(0, State.START, Code.OK, ""),
    )
    entries = found["model_version_status"]
    assert [entry["version"] for entry in entries] == ["9223372036854775807", "2", "1", "0"]
    assert [entry["state"] for entry in entries] == ["LOADING", "END", "UNLOADING", "START"]
    assert entries[1]["status"] == {"error_code": "RESOURCE_EXHAUSTED", "error_message": text}


def test_every_state_and_code_has_upstreams_name() -> None:
    for state in State:
        for code in Code:
            (entry,) = status(VersionStatus(1, state, code, ""))["model_version_status"]
            assert (entry["state"], entry["status"]["error_code"]) == (state.name, code.name)


def test_metadata() -> None:
    signatures = {
        "serving_default": {
            "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [], "unknown_rank": True}, "name": "x:0"}},
            "outputs": {},
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
    }
    message = {"metadata": signatures, "signatures": [signature(spec("x")).to_wire()]}
    version = Version(ServableId("models/mé", 7), message, lambda _: None)
    body = metadata_body(version)
    assert body.endswith(b"}\n")
    assert json.loads(body) == {
        "model_spec": {"name": "models/mé", "signature_name": "", "version": "7"},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }
