"""Requests of low priority over REST: with every kind of body, on the short way and on aiohttp's."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from binary_bodies import npy, npz
from example_requests import open_lane, serve
from front_end_stage import stage, until
from made_outputs import classify_signature, numbers, regress_signature
from rest_stage import PREDICT, RawClient, raw_client, served
from worker_side import on_loop
from zmq_stage import pack

from shm.layout import LOW, PACKED

ONE = np.array([1], "<f4")
JSON = b'{"instances": [1]}'
BODIES: dict[str, tuple[bytes, str]] = {
    "JSON": (JSON, "application/json"),
    "slow JSON": (b'{"instances": [1], "other": ""}', "application/json"),
    "npy": (npy(ONE), "application/x-npy"),
    "npz": (npz(x=ONE), "application/x-npz"),
    "raw": (ONE.tobytes(), "application/octet-stream\r\nX-Ringserve-Shape: 1"),
    "message": (pack({"inputs": [["x", "float", [1], ONE.tobytes()]]}), "application/x-msgpack"),
}
WORDS = [("low", LOW), ("LOW", LOW), ("Low ", LOW), ("high", 0), ("HIGH", 0), (None, 0)]
WRONG = ["urgent", "", "0", "low, low", "hoch"]


def send(client: RawClient, body: bytes, content_type: str, word: str | None, path: str = PREDICT) -> None:
    client.send(body, path, f"Content-Type: {content_type}", *([] if word is None else [f"x-priority: {word}"]))


def said(word: str) -> str:
    return f"The header X-Priority is '{word}'; expected high or low"


@pytest.mark.parametrize("kind", BODIES)
@on_loop
async def test_every_kind_of_body(kind: str) -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for word, flag in WORDS:
            send(client, *BODIES[kind], word)
            await until(lambda: worker.consumer.waiting)
            assert worker.flags() == [flag]
            on.answer(worker)
            assert (await client.answer()).status == 200
        for word in WRONG:
            send(client, *BODIES[kind], word)
            answer = await client.answer()
            assert (answer.status, said(word) in answer.body.decode()) == (400, True)
        assert not worker.consumer.waiting


@on_loop
async def test_a_message_says_it_too() -> None:
    """Then it is the message that counts."""
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for in_message, in_header, flag in (
            ("low", None, LOW),
            ("low", "high", LOW),
            ("high", "low", 0),
            (None, "low", LOW),
        ):
            body = pack({"priority": in_message, "inputs": [["x", "float", [1], ONE.tobytes()]]})
            send(client, body, "application/x-msgpack", in_header)
            await until(lambda: worker.consumer.waiting)
            assert worker.flags() == [flag]
            on.answer(worker)
            assert (await client.answer()).status == 200
        send(client, pack({"priority": "x", "inputs": []}), "application/x-msgpack", None)
        answer = await client.answer()
        assert answer.status == 400 and b"priority: 'x'; expected high or low" in answer.body


@on_loop
async def test_bodies_in_pieces_and_large_ones() -> None:
    """They go aiohttp's way, or are read in a thread."""
    large = b'{"instances": [1], "other": "' + b" " * (1 << 20) + b'"}'
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for body in (JSON, large):
            for word, flag in WORDS:
                head = ["POST /v1/models/m:predict HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
                head += [] if word is None else [f"X-Priority: {word}"]
                client.writer.write("\r\n".join([*head, "", ""]).encode() + body[:5])
                await client.writer.drain()
                await asyncio.sleep(0)
                client.writer.write(body[5:])
                await until(lambda: worker.consumer.waiting)
                assert worker.flags() == [flag]
                on.answer(worker)
                assert (await client.answer()).status == 200
            client.writer.write(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nX-Priority: no\r\n")
            client.writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
            await asyncio.sleep(0)
            client.writer.write(body[5:])
            answer = await client.answer()
            assert (answer.status, said("no") in answer.body.decode()) == (400, True)
        assert not worker.consumer.waiting


@pytest.mark.parametrize("verb", ["classify", "regress"])
@on_loop
async def test_examples(verb: str) -> None:
    output: Any = numbers([[1.0]] if verb == "classify" else [1.0])
    async with stage() as on, served(on) as port, raw_client(port) as client:
        await serve(on, classify_signature("scores"), regress_signature())
        worker = await open_lane(on, verb, 1)
        path, body = f"/v1/models/m:{verb}", f'{{"signature_name": "{verb}", "examples": [{{"x": 1}}]}}'.encode()
        for word, flag in WORDS:
            send(client, body, "application/json", word, path)
            await until(lambda: worker.consumer.waiting)
            assert worker.flags() == [flag | PACKED]
            worker.answer(tensors=[output.packed()])
            on.bell.ring()
            assert (await client.answer()).status == 200
        for word in WRONG:
            send(client, body, "application/json", word, path)
            assert said(word) in (await client.answer()).body.decode()


@on_loop
async def test_what_can_be_sent_back() -> None:
    """A priority of bytes that are no text, and a long one."""
    async with stage() as on, served(on) as port, raw_client(port) as client:
        await on.open()
        for word in (b"\xff\xfe", b"x" * 4000):
            client.writer.write(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nX-Priority: " + word)
            client.writer.write(f"\r\nContent-Length: {len(JSON)}\r\n\r\n".encode() + JSON)
            answer = await client.answer()
            assert answer.status == 400 and len(answer.body) < 400
            assert b"expected high or low" in answer.body
