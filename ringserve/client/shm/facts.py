"""Questions about models, over the control connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringserve.channel import Message
from ringserve.client.fact_answers import question
from ringserve.client.operation_answers import answer_of
from ringserve.client.operations import Operation
from ringserve.client.shm.control import close_all
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.session import ShmSession
from ringserve.errors import Code, ServingError


def ask(session: ShmSession, operation: Any, limit: Limit, done: Callable[[Any], None]) -> None:
    """`done` gets the answer or a ServingError, in this thread or the watch's."""

    def told(message: Message | ServingError, fds: list[int]) -> None:
        close_all(fds)
        done(message if isinstance(message, ServingError) else _answer(operation, message))

    session.ask(question(operation, 0), limit, told)


def _answer(operation: Operation[Any], message: Message) -> Any:
    answer = message.get("answer")
    if not isinstance(answer, dict):
        return ServingError(Code.INTERNAL, "The server's answer can't be read: there is none")
    try:
        return answer_of(operation, answer, ())
    except ServingError as error:
        return error
