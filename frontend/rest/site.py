"""What all requests to this front end share: options as its handlers need them, and headers that every answer carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from frontend.bodies.negotiation import BodyOptions
from frontend.front_end import FrontEnd
from frontend.rest.body_memory import BodyMemory
from frontend.rest.known_heads import KnownHeads
from frontend.rest.reply import Reply
from ringserve.options import ServerOptions

_CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_BODIES_AT_A_TIME: Final = 4  # of the largest size
_MOST_ID: Final = 256  # characters of a request's name that are given back


class Site:
    """One of each front end."""

    def __init__(self, front_end: FrontEnd, options: ServerOptions) -> None:
        self.front_end = front_end
        self.timeout = max(options.rest_api_timeout_in_ms, 0) * 1_000_000  # ns, 0: none
        self.most_bytes = options.max_request_bytes
        self.bodies = BodyMemory(_BODIES_AT_A_TIME * options.max_request_bytes)
        self.heads = KnownHeads()
        self.check_method = options.enable_signature_method_name_check
        self.body_options = BodyOptions(
            most_bytes=options.max_request_bytes,
            check_method=options.enable_signature_method_name_check,
            tensor_content=options.enable_serialization_as_tensor_content,
        )
        self._cors = _CORS if options.rest_api_enable_cors_support else ()

    def dressed(self, reply: Reply, headers: Mapping[str, str], cors: bool = True) -> Reply:
        """The reply with the headers that do not depend on what was asked; `headers`: the request's."""
        more = self._cors if cors else ()
        name = headers.get("X-Request-Id")
        if name is not None and len(name) <= _MOST_ID:
            more = (*more, ("X-Request-Id", name))
        return reply._replace(headers=(*reply.headers, *more)) if more else reply
