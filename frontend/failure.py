"""What a client is told of errors."""

from __future__ import annotations

import logging

from ringserve.errors import Code, ServingError

_logger = logging.getLogger(__name__)


def as_serving_error(error: Exception) -> ServingError:
    """Of one that nobody foresaw, no more than that there was one."""
    if isinstance(error, ServingError):
        return error
    _logger.error("a request failed in a way it never should", exc_info=error)
    return ServingError(Code.INTERNAL, "The server failed on this request; its log says how")
