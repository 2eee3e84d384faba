"""HandleReloadConfigRequest: another list of models, which the supervisor sees to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from frontend.grpc.request_message import request_message
from frontend.heavy_work import in_thread
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module

_MOST_BYTES: Final = 1 << 24  # tens of thousands of models


async def handle_reload(request: bytes, ask: Callable[[Message], Awaitable[Message]]) -> bytes:
    """`ask` sends a message to the supervisor and returns its answer. Raises ServingError: what the reload came to.

    A client that does not wait for the answer changes nothing: the supervisor goes on.
    """
    messages = message_module("tensorflow_serving.apis.model_management_pb2")
    # The supervisor is not bothered with nonsense.
    await in_thread(request_message, messages.ReloadConfigRequest, request, _MOST_BYTES)
    answer = await ask({"type": "reload", "request": request})
    if answer["code"]:
        raise ServingError(Code(answer["code"]), answer["message"])
    response: bytes = answer["response"]
    return response
