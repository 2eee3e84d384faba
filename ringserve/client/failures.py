"""Failures that are the same in every protocol."""

from __future__ import annotations

from ringserve.errors import Code, ServingError


def late(timeout: float | None) -> ServingError:
    """The call's time is over. `timeout`: in seconds, what it had."""
    return ServingError(Code.DEADLINE_EXCEEDED, f"No answer within {timeout or 0:.6g} s")


def closed() -> ServingError:
    """A call of a client that was closed before."""
    return ServingError(Code.FAILED_PRECONDITION, "The client is closed")


def interrupted() -> ServingError:
    """A call that had no answer when its client was closed."""
    return ServingError(Code.CANCELLED, "The client is closed")


def cancelled() -> ServingError:
    """A call that its caller no longer wants."""
    return ServingError(Code.CANCELLED, "The call was cancelled")


def unforeseen(error: Exception) -> ServingError:
    """What nobody thought of, while an answer was read."""
    return ServingError(Code.INTERNAL, f"The answer can't be read: {type(error).__name__}: {error}")


def again(error: ServingError) -> ServingError:
    """The same for somebody else, with a traceback of its own."""
    return ServingError(error.code, error.message)


def no_room(most: int) -> ServingError:
    """In a stream, in time. `most`: requests that may be without a result."""
    return ServingError(Code.DEADLINE_EXCEEDED, f"{most} requests before this one have no result yet")


def stream_closed() -> ServingError:
    """A request of a stream that was closed before."""
    return ServingError(Code.FAILED_PRECONDITION, "The stream is closed")


def stream_cancelled() -> ServingError:
    """A request that had no result when its stream was cancelled."""
    return ServingError(Code.CANCELLED, "The stream was cancelled")
