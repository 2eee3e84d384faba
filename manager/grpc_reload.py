"""The reload that a gRPC client asks for: upstream's HandleReloadConfigRequest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from manager.config_messages import from_upstream
from manager.loader_harness import as_serving_error
from manager.reload_outcome import failure
from manager.server_core import ServerCore
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module

_logger = logging.getLogger(__name__)

_WRONG_KIND: Final = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
)


class GrpcReload:
    """Any number at a time: each is applied when it comes, and none waits for another."""

    def __init__(self, core: ServerCore, first_cells: Callable[[Iterable[str]], Mapping[str, int]]) -> None:
        """`first_cells` is `UpstreamPage.first_cells`."""
        self._core = core
        self._first_cells = first_cells

    async def reload(self, request: bytes) -> Message:
        """What a ReloadConfigRequest came to: `code`, `message`, and `response`, a ReloadConfigResponse where all went well.

        Applied before it first waits; then it waits for models that are new, no longer than --reload_timeout.
        """
        try:
            return {"code": int(Code.OK), "message": "", "response": await self._response(request)}
        except ServingError as error:
            return _refusal(error)
        except Exception as error:  # whoever waits is told, whatever happens
            _logger.exception("a reload failed in a way it never should")
            return _refusal(as_serving_error(error))

    async def _response(self, request: bytes) -> bytes:
        messages = message_module("tensorflow_serving.apis.model_management_pb2")
        config, names = _read(messages, request)
        before = self._first_cells(names) if names else {}
        incomplete = failure(await self._core.reload(config))
        if incomplete is not None:
            raise incomplete
        response = messages.ReloadConfigResponse()
        response.status.SetInParent()
        after = self._first_cells(names) if names else {}
        for name in names:
            response.metric.add(name=name, int64_value_increase=after[name] - before[name])
        answer: bytes = response.SerializeToString()
        return answer


def _read(messages: Any, request: bytes) -> tuple[Any, list[str]]:
    """The config, and the metrics asked for, each once. Raises ServingError (INVALID_ARGUMENT)."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - the messages have imported it

    try:
        message = messages.ReloadConfigRequest.FromString(request)
        if message.config.WhichOneof("config") != "model_config_list":
            raise ServingError(Code.INVALID_ARGUMENT, _WRONG_KIND)
        return from_upstream(message.config), list(dict.fromkeys(message.metric_names))
    except DecodeError as error:  # of the fields that only this server has, too
        raise ServingError(Code.INVALID_ARGUMENT, f"The request is no ReloadConfigRequest: {error}") from error


def _refusal(error: ServingError) -> Message:
    return {"code": int(error.code), "message": error.message, "response": b""}
