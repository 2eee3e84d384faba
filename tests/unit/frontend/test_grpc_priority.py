"""Calls of low priority over gRPC, from grpcio's own client to the real server; worker and supervisor are played."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from binary_bodies import numbers as made_numbers
from binary_bodies import predict_request
from example_requests import (
    ONE,
    ClassificationRequest,
    MultiInferenceRequest,
    RegressionRequest,
    open_lane,
    serve,
    set_examples,
    set_spec,
)
from example_requests import request as request_with_examples
from front_end_stage import DECLARED, Stage, stage, until
from made_outputs import classify_signature, numbers, regress_signature
from played_stream import conversation, request
from worker_side import WorkerSide, on_loop

from frontend.grpc.server import GrpcServer
from frontend.grpc.services import Services
from frontend.grpc.turns import TurnLoop
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.predict_request import CLASSIFY, REGRESS
from shm.layout import LOW, PACKED

PREDICTION = "/tensorflow.serving.PredictionService/"
WORDS = [("low", LOW), ("LOW", LOW), ("high", 0), ("High", 0), (None, 0)]
WRONG = ["urgent", "", "lo", "x" * 1000]


class Served:
    """A version with three signatures, and a lane to each."""

    def __init__(self, on: Stage, channel: grpc.aio.Channel) -> None:
        self.on = on
        self.channel = channel
        self.workers: dict[str, WorkerSide] = {}

    async def serve(self) -> None:
        await serve(self.on, DECLARED, classify_signature("scores"), regress_signature())
        for number, name in enumerate((DECLARED.name, "classify", "regress"), 1):
            self.workers[name] = await open_lane(self.on, name, number)

    def call(self, method: str, message: bytes, word: str | None) -> Awaitable[bytes]:
        metadata = () if word is None else (("x-priority", word),)
        call: Awaitable[bytes] = self.channel.unary_unary(PREDICTION + method)(message, metadata=metadata, timeout=20)
        return call

    async def check(self, method: str, message: bytes, outputs: dict[str, Any]) -> None:
        """`outputs`: what the workers answer, by signature."""
        for word, flag in WORDS:
            call = asyncio.ensure_future(self.call(method, message, word))
            await until(lambda: all(self.workers[name].consumer.waiting for name in outputs))
            for name, output in outputs.items():
                assert self.workers[name].flags() == [flag | PACKED]
                self.workers[name].answer(tensors=[output.packed()])
            self.on.bell.ring()
            await call
        for word in WRONG:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await self.call(method, message, word)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details() == f"The metadata x-priority is '{word[:64]}'; expected high or low"
        assert not any(worker.consumer.waiting for worker in self.workers.values())


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    options = ServerOptions()
    async with stage() as on:
        server = GrpcServer(Services(on.front_end, options), options)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        server.start([address], None)
        async with grpc.aio.insecure_channel(address) as channel:
            made = Served(on, channel)
            await made.serve()
            yield made
        await server.stop()


def run(test: Callable[[Served], Awaitable[None]]) -> None:
    async def within() -> None:
        async with served() as on:
            await asyncio.wait_for(test(on), 30)

    with asyncio.Runner(loop_factory=TurnLoop) as runner:
        runner.run(within())


def test_predict() -> None:
    message = predict_request(x=made_numbers("float", [1.0]))
    message.model_spec.name = "m"
    output = numbers([2.0])
    run(lambda on: on.check("Predict", message.SerializeToString(), {DECLARED.name: output}))


def test_predict_in_a_thread() -> None:
    """A message that takes long to read."""
    message = predict_request(x=made_numbers("float", [1.0]))
    message.model_spec.name = "m"
    odd = message.SerializeToString() + b"\xf8\x07\x01" * 4000  # fields that there are not
    run(lambda on: on.check("Predict", odd, {DECLARED.name: numbers([2.0])}))


def test_classify_and_regress() -> None:
    async def test(on: Served) -> None:
        for method, kind, name, output in (
            ("Classify", ClassificationRequest, "classify", numbers([[1.0]])),
            ("Regress", RegressionRequest, "regress", numbers([1.0])),
        ):
            await on.check(method, request_with_examples(kind, ONE, signature=name), {name: output})

    run(test)


def test_multi_inference() -> None:
    message = MultiInferenceRequest()
    for signature, method in (("regress", REGRESS), ("classify", CLASSIFY)):
        set_spec(message.tasks.add(method_name=method).model_spec, signature=signature)
    set_examples(message.input, ONE)
    outputs = {"regress": numbers([1.0]), "classify": numbers([[1.0]])}
    run(lambda on: on.check("MultiInference", message.SerializeToString(), outputs))


@on_loop
async def test_streams() -> None:
    """All requests of a stream are alike."""
    async with stage() as on:
        _, worker = await on.open()
        for word, flag in WORDS:
            metadata = {} if word is None else {"x-priority": word}
            async with conversation(on, metadata=metadata) as (stream, task):
                stream.send(request(1.0), request(2.0))
                stream.send(request(3.0))
                await until(lambda: worker.consumer.waiting == 3)
                assert worker.flags() == [flag] * 3
                on.answer(worker, 3)
                assert await stream.answered(3) == [[2.0], [4.0], [6.0]]
                stream.half_close()
                await task
        for word in WRONG:
            async with conversation(on, metadata={"x-priority": word}) as (stream, task):
                with pytest.raises(ServingError) as caught:
                    await task
                assert caught.value.code is Code.INVALID_ARGUMENT
                assert not stream.reads


@on_loop
async def test_a_stream_waits_where_there_is_no_room_for_its_priority() -> None:
    """As it does in a full lane: none of its requests fails."""
    async with stage() as on:
        endpoint, worker = await on.open()
        most = worker.spec.slots // 2
        others = [on.front_end.submit(endpoint, [made_numbers("float", [1.0])], 0, low=True) for _ in range(most - 10)]
        async with conversation(on, metadata={"x-priority": "low"}) as (stream, task):
            stream.send(*[request(float(number)) for number in range(64)])
            stream.half_close()
            await until(lambda: worker.consumer.waiting == most)
            on.answer(worker, most)
            await until(lambda: all(pending.completed for pending in others))
            for pending in others:
                pending.done()
            await until(lambda: worker.consumer.waiting == 54)
            on.answer(worker, 54)
            await task
            assert stream.values() == [[2.0 * number] for number in range(64)]
