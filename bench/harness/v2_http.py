"""KServe V2 over HTTP: bodies in JSON, and those of the binary extension, whose tensors follow the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from bench.harness.v2_tensors import elements, listed_array, raw_array, raw_bytes, v2_name, v2_type
from ringserve.client.tensors import Array, Tensor
from ringserve.signature import PREDICT_METHOD, Signature, TensorSpec

#: How many bytes of a body are JSON; by its name in small letters.
HEADER_LENGTH: Final = b"inference-header-content-length"

_ID: Final = "1"  # else some servers give each answer one of its own


def v2_path(model: str, version: int | None = None) -> str:
    """Of the model, or of a version."""
    path = f"/v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{version}"


def v2_json(inputs: Mapping[str, Tensor]) -> bytes:
    """A request's body. Raises ServingError (UNIMPLEMENTED) for types that V2 does not have."""
    named = []
    for alias, (dtype, shape, values) in inputs.items():
        if isinstance(values, list):
            data: Any = [value.decode(errors="surrogateescape") for value in values]
        elif dtype.name == "bfloat16":
            data = (values.astype("<u4") << 16).view("<f4").ravel().tolist()
        else:
            data = values.ravel().tolist()
        named.append({"name": alias, "shape": list(shape), "datatype": v2_name(dtype), "data": data})
    return json.dumps({"id": _ID, "inputs": named}, separators=(",", ":")).encode()


def v2_binary(inputs: Mapping[str, Tensor]) -> tuple[bytes, int]:
    """A request's body, and how many bytes of it are JSON. All outputs are asked for in binary too."""
    tensors = {alias: raw_bytes(tensor) for alias, tensor in inputs.items()}
    named = [
        {
            "name": alias,
            "shape": list(shape),
            "datatype": v2_name(dtype),
            "parameters": {"binary_data_size": len(tensors[alias])},
        }
        for alias, (dtype, shape, _) in inputs.items()
    ]
    request = {"id": _ID, "parameters": {"binary_data_output": True}, "inputs": named}
    head = json.dumps(request, separators=(",", ":")).encode()
    return b"".join((head, *tensors.values())), len(head)


def v2_outputs(body: bytes, header_length: int) -> dict[str, Array]:
    """An answer's tensors by name. `header_length`: 0 where all of it is JSON.

    Raises ValueError, LookupError and TypeError for what is no answer.
    """
    if header_length < 0 or header_length > len(body):
        raise ValueError(f"{header_length} bytes of JSON in a body of {len(body)}")
    document = orjson.loads(body[:header_length] if header_length else body)
    at = header_length or len(body)
    found: dict[str, Array] = {}
    for output in document["outputs"]:
        name, shape, datatype = output["name"], output["shape"], output["datatype"]
        elements(shape)
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[name] = listed_array(datatype, shape, output["data"])
            continue
        if type(size) is not int or not 0 <= size <= len(body) - at:
            raise ValueError(f"a tensor of {size!r:.100} bytes, of which {len(body) - at} are there")
        found[name] = raw_array(datatype, shape, body[at : at + size])
        at += size
    return found


def v2_signature(document: Any) -> Signature:
    """Of a model's metadata. Raises ValueError for what is none."""
    try:
        inputs, outputs = (
            tuple(
                TensorSpec(each["name"], each["name"], v2_type(each["datatype"]), tuple(int(size) for size in each["shape"]))
                for each in document[which]
            )
            for which in ("inputs", "outputs")
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the server's metadata of the model can't be read: {error!r}") from error
    return Signature("", PREDICT_METHOD, inputs, outputs)
