"""streaming.proto and the messages made at run time are the same thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

import ringserve
from ringserve.protos import message_module
from ringserve.streaming_messages import FILE, PREDICT_STREAM, SERVICE, message_class, streaming_file

FOLDER = Path(ringserve.__file__).resolve().parent.parent


def described(file: Any) -> Any:
    made = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(made)
    return made


def dependencies(file: Any) -> list[Any]:
    found = {}
    for one in file.dependencies:
        found.update({inner.name: inner for inner in dependencies(one)})
        found[one.name] = one
    return list(found.values())


def test_the_proto_compiles_to_the_same(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    known, compiled = tmp_path / "known.pb", tmp_path / "compiled.pb"
    files = [described(file) for file in dependencies(streaming_file())]
    known.write_bytes(descriptor_pb2.FileDescriptorSet(file=files).SerializeToString())
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", "-I."]
    command += [f"--descriptor_set_in={known}", f"--descriptor_set_out={compiled}", FILE]
    subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, timeout=60)
    (expected,) = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    for message in expected.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert described(streaming_file()) == expected


def test_messages() -> None:
    requests = message_class("StreamedRequests")()
    request = requests.requests.add(timeout_in_ms=5).request
    assert isinstance(request, message_module("tensorflow_serving.apis.predict_pb2").PredictRequest)
    request.model_spec.name = "m"
    assert requests.SerializeToString() == b"\x0a\x09\x0a\x05\x0a\x03\x0a\x01m\x10\x05"
    assert message_class("StreamedRequests").FromString(requests.SerializeToString()) == requests
    results = message_class("StreamedResults")()
    results.results.add(code=3, message="no")
    results.results.add().response.SetInParent()
    assert results.SerializeToString() == b"\x0a\x06\x10\x03\x1a\x02no\x0a\x02\x0a\x00"


def test_the_service() -> None:
    service = streaming_file().services_by_name["StreamingPrediction"]
    assert service.full_name == SERVICE
    (method,) = service.methods
    assert f"/{SERVICE}/{method.name}" == PREDICT_STREAM
    assert method.client_streaming and method.server_streaming
    assert method.input_type is message_class("StreamedRequests").DESCRIPTOR
    assert method.output_type is message_class("StreamedResults").DESCRIPTOR
