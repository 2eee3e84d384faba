"""The parts of the OpenAPI document that no model changes: kinds of bodies, headers, errors, states."""

from __future__ import annotations

from typing import Any, Final

from frontend.bodies.asked import OUTPUTS, SIGNATURE
from frontend.bodies.raw_body import DTYPE, SHAPE
from frontend.rest.openapi_schemas import Schema
from ringserve.errors import Code
from ringserve.priority import HEADER, HIGH, LOW
from ringserve.servable import State

_KEY: Final = "X-Ringserve-Key"
_TEXT: Final[Schema] = {"schema": {"type": "string"}}
_WHOLE_NUMBER: Final[Schema] = {"type": "string", "pattern": "^-?[0-9]+$"}


def _binary(content_type: str, text: str) -> dict[str, Any]:
    return {"schema": {"contentMediaType": content_type, "description": text}}


#: Bodies besides JSON; an answer comes in the request's own kind, or in the one that Accept names.
BINARY_KINDS: Final[dict[str, Any]] = {
    content_type: _binary(content_type, text)
    for content_type, text in (
        ("application/x-npy", "One tensor, as numpy.save writes it"),
        ("application/x-npz", "Tensors by their aliases, as numpy.savez writes them"),
        ("application/octet-stream", "One tensor's bytes, little-endian; headers say which type and shape it has"),
        ("application/x-msgpack", "A map with tensors"),
        ("application/x-protobuf", "tensorflow.serving.PredictRequest, answered with PredictResponse"),
    )
}


def _header(name: str, text: str, pattern: str | None = None) -> dict[str, Any]:
    schema = {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "description": text, "schema": schema}


PARAMETERS: Final[dict[str, Any]] = {
    "Key": _header(_KEY, "Requests with the same key get the same version of a label that splits its requests"),
    "Priority": {
        **_header(HEADER, "low: to run when no others wait, or to fill up a batch; high without"),
        "schema": {"type": "string", "enum": [HIGH, LOW]},
    },
    "Signature": _header(SIGNATURE, "The signature that an array or raw bytes are for; serving_default without"),
    "Outputs": _header(OUTPUTS, "The outputs that a binary answer is to have, with commas in between; all without"),
    "Dtype": _header(DTYPE, "The type of a raw body, like float32; the signature's without", "^[A-Za-z0-9_]+$"),
    "Shape": _header(SHAPE, "The shape of a raw body, like 1,224,224,3", "^-?[0-9]+(,-?[0-9]+)*$"),
}
#: Of all requests for inference.
INFERENCE_PARAMETERS: Final = [{"$ref": "#/components/parameters/Priority"}]
#: Of predict requests besides.
BINARY_PARAMETERS: Final = [
    {"$ref": f"#/components/parameters/{name}"} for name in ("Signature", "Outputs", "Dtype", "Shape")
]

_ERRORS: Final = {
    400: "The path, the body, or the model's own error about the values in it",
    404: "No such model or version",
    408: "The rest of the body did not come in time",
    413: "The body or its tensors are too large",
    429: "Too much waits already, or the answer is too large for a lane",
    500: "The server's own fault, or a request that took its worker down",
    501: "Nothing can carry this type in JSON",
    503: "Too many requests wait, or no worker can take any",
    504: "No answer in time",
}
_RETRIED: Final = (429, 503)
_RETRY_AFTER: Final[Schema] = {
    "Retry-After": {"description": "Seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
}
_TIMED: Final[Schema] = {
    "Server-Timing": {"description": "How long the stages took, in milliseconds", "schema": {"type": "string"}}
}

_ERROR_BODY: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}

RESPONSES: Final[dict[str, Any]] = {
    **{
        f"Error{status}": {
            "description": text,
            "content": _ERROR_BODY,
            **({"headers": _RETRY_AFTER} if status in _RETRIED else {}),
        }
        for status, text in _ERRORS.items()
    },
    "Unready": {
        "description": "It can't; the body says which model can't and why",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}},
        "headers": _RETRY_AFTER,
    },
}

_CODES: Final = [code.name for code in Code]
_VERSIONS: Final[Schema] = {"type": "array", "items": {"$ref": "#/components/schemas/VersionStatus"}}
_TENSORS: Final[Schema] = {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/TensorInfo"}}

STATUS_SCHEMAS: Final[dict[str, Schema]] = {
    "VersionStatus": {
        "type": "object",
        "properties": {
            "version": _WHOLE_NUMBER,
            "state": {"enum": [state.name for state in State]},
            "status": {
                "type": "object",
                "properties": {"error_code": {"enum": _CODES}, "error_message": {"type": "string"}},
                "required": ["error_code", "error_message"],
            },
        },
        "required": ["version", "state", "status"],
    },
    "Status": {"type": "object", "properties": {"model_version_status": _VERSIONS}, "required": ["model_version_status"]},
    "TensorInfo": {
        "type": "object",
        "properties": {
            "dtype": {"type": "string"},
            "name": {"type": "string"},
            "tensor_shape": {
                "type": "object",
                "properties": {
                    "dim": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"size": _WHOLE_NUMBER, "name": {"type": "string"}}},
                    },
                    "unknown_rank": {"type": "boolean"},
                },
            },
        },
    },
    "SignatureDef": {
        "type": "object",
        "properties": {
            "inputs": _TENSORS,
            "outputs": _TENSORS,
            "method_name": {"type": "string"},
            "defaults": {"type": "object"},
        },
    },
    "Metadata": {
        "type": "object",
        "properties": {
            "model_spec": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "signature_name": {"type": "string"},
                    "version": _WHOLE_NUMBER,
                },
                "required": ["name", "signature_name", "version"],
            },
            "metadata": {
                "type": "object",
                "properties": {
                    "signature_def": {
                        "type": "object",
                        "properties": {
                            "signature_def": {
                                "type": "object",
                                "additionalProperties": {"$ref": "#/components/schemas/SignatureDef"},
                            }
                        },
                        "required": ["signature_def"],
                    }
                },
                "required": ["signature_def"],
            },
        },
        "required": ["model_spec", "metadata"],
    },
    "Health": {
        "type": "object",
        "properties": {
            "status": {"enum": ["ok", "unavailable", "unknown"]},
            "error": {"type": "string"},
            "model_version_status": _VERSIONS,
            "models": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}, "model_version_status": _VERSIONS},
                    "required": ["error", "model_version_status"],
                },
            },
        },
        "required": ["status"],
    },
}


def found(content: dict[str, Any], description: str = "The answer", timed: bool = False) -> dict[str, Any]:
    """A response with a body of one of these kinds."""
    response: dict[str, Any] = {"description": description, "content": content}
    return {**response, "headers": _TIMED} if timed else response


def any_kind(content_type: str, *statuses: int) -> dict[str, Any]:
    """Responses in text of one kind: 200, and others."""
    content = {content_type: _TEXT}
    return {"200": found(content), **{str(status): found(content, _ERRORS[status]) for status in statuses}}


def errors(*statuses: int) -> dict[str, Any]:
    """Responses of errors."""
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}
