"""A front end's part in a reload: what it passes on, and what it makes of the answer."""

from __future__ import annotations

import asyncio

import pytest

from frontend.grpc.reload import handle_reload
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module

MESSAGES = message_module("tensorflow_serving.apis.model_management_pb2")


class Supervisor:
    """Answers with what a test says, when it says so."""

    def __init__(self, code: int = 0, message: str = "", response: bytes = b"") -> None:
        self.answer: Message = {"type": "told", "call": 1, "code": code, "message": message, "response": response}
        self.asked: list[Message] = []
        self.answers = asyncio.Event()
        self.given_up = 0

    async def ask(self, message: Message) -> Message:
        self.asked.append(message)
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return self.answer


def request() -> bytes:
    message = MESSAGES.ReloadConfigRequest(metric_names=["a"])
    message.config.model_config_list.config.add(name="m", base_path="/m", model_platform="tensorflow")
    data: bytes = message.SerializeToString()
    return data


async def call(supervisor: Supervisor, data: bytes) -> bytes:
    supervisor.answers.set()
    return await asyncio.wait_for(handle_reload(data, supervisor.ask), 10)


def test_the_supervisor_gets_the_request_and_the_client_its_response() -> None:
    async def work() -> None:
        supervisor = Supervisor(response=b"\x0a\x00")
        assert await call(supervisor, request()) == b"\x0a\x00"
        assert supervisor.asked == [{"type": "reload", "request": request()}]

    asyncio.run(work())


def test_a_failure_is_the_calls_status() -> None:
    async def work() -> None:
        with pytest.raises(ServingError) as caught:
            await call(Supervisor(2, "1 model(s) did not become available: {{x}, }"), request())
        assert (caught.value.code, caught.value.message) == (
            Code.UNKNOWN,
            "1 model(s) did not become available: {{x}, }",
        )

    asyncio.run(work())


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"\x0a\x7f", Code.INVALID_ARGUMENT, "The request is no ReloadConfigRequest: "),
        (b"\x12\x01\xff", Code.INVALID_ARGUMENT, "The request is no ReloadConfigRequest: "),
        (bytes((1 << 24) + 1), Code.RESOURCE_EXHAUSTED, "Received message larger than max (16777217 vs. 16777216)"),
    ],
)
def test_nonsense_goes_no_further(data: bytes, code: Code, text: str) -> None:
    async def work() -> None:
        supervisor = Supervisor()
        with pytest.raises(ServingError) as caught:
            await call(supervisor, data)
        assert (caught.value.code, caught.value.message[: len(text)]) == (code, text)
        assert supervisor.asked == []

    asyncio.run(work())


def test_a_client_that_goes_away_ends_its_own_waiting_only() -> None:
    async def work() -> None:
        supervisor = Supervisor(response=b"all well")
        gone, stays = (asyncio.ensure_future(handle_reload(request(), supervisor.ask)) for _ in range(2))
        while len(supervisor.asked) < 2:
            await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert supervisor.given_up == 1
        supervisor.answers.set()
        assert await asyncio.wait_for(stays, 10) == b"all well"

    asyncio.run(work())
