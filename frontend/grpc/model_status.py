"""GetModelStatus: the states of a model's versions."""

from __future__ import annotations

from frontend.catalog import Catalog
from frontend.grpc.request_message import request_message
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module


def get_model_status(request: bytes, catalog: Catalog) -> bytes:
    """Every version reported, highest first, or the one asked for; a label means nothing here, as upstream.

    Raises ServingError with upstream's texts.
    """
    messages = message_module("tensorflow_serving.apis.get_model_status_pb2")
    message = request_message(messages.GetModelStatusRequest, request)
    if not message.HasField("model_spec"):
        raise ServingError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    spec = message.model_spec
    response = messages.GetModelStatusResponse()
    for status in catalog.status(spec.name, spec.version.value if spec.HasField("version") else None):
        entry = response.model_version_status.add(version=status.version, state=int(status.state))
        entry.status.SetInParent()  # there is one when all is well, too
        entry.status.error_code = int(status.code)
        entry.status.error_message = status.message
    answer: bytes = response.SerializeToString()
    return answer
