"""What a plug-in raises, whatever it is, becomes an error for a client, and never ends the worker."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ringserve.errors import Code, ServingError

_logger = logging.getLogger(__name__)


@contextmanager
def plugin_errors(doing: str) -> Iterator[None]:
    """Around calls into a plug-in: a ServingError passes, anything else becomes one, INTERNAL "TypeName: text".

    `doing` is for the log, where the traceback goes, at level debug.
    """
    try:
        yield
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: a plug-in's exit is not the worker's
        if isinstance(error, ServingError) and _can_be_sent(error):
            raise
        _logger.debug("%s failed", doing, exc_info=True)
        raise ServingError(Code.INTERNAL, _text(error)) from error


def _can_be_sent(error: ServingError) -> bool:
    """Code and text were the plug-in's to choose."""
    return isinstance(error.code, Code) and error.code is not Code.OK and isinstance(error.message, str)


def _text(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:
        return name
    return f"{name}: {text}" if text else name
